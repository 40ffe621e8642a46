"""Element values as med-imagetools writes them: what Python shows of the value that pydicom makes of an element."""

from __future__ import annotations

from struct import pack, unpack

# Of these an empty value is None to pydicom.
_NUMBERS = frozenset({"AT", "DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"})
# A backslash is text in these.
_SINGLE = frozenset({"LT", "ST", "UR", "UT"})


def shown(vr: str, text: str | None) -> str:
    """The value `text` of an element, several joined by backslashes as `storage.header` has them; None: it is absent.

    Numbers are as they are written in the object, several values a Python list: ``"['ORIGINAL', 'PRIMARY']"``,
    ``"[0.661468, 0.661468]"``; an empty number is ``"None"``.
    """
    if text is None:
        return ""
    number = vr in _NUMBERS
    if not text.strip() if number else not text:
        return "None" if number else ""
    values = [text] if vr in _SINGLE else text.split("\\")
    if number:
        numbers = [_number(vr, value.strip()) for value in values]
        return numbers[0] if len(numbers) == 1 else f"[{', '.join(numbers)}]"
    values = [value.rstrip(" \0") for value in values] if vr in ("LO", "SH", "UC") else values
    return values[0] if len(values) == 1 else repr(values)


def _number(vr: str, text: str) -> str:
    if not text:
        return "''"
    if vr == "FD":
        return str(float(text))
    if vr == "FL":
        (value,) = unpack("f", pack("f", float(text)))
        return str(value)
    return text
