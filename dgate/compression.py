"""The page docs/compression.md: what the codes make of an object, out of the tables of codes and forms."""

from __future__ import annotations

from collections.abc import Iterator

from storage.codecs.forms import FORMS, Form
from storage.codecs.table import CODECS, Codec

_HEAD = """\
# Compression codes

This page is generated from the tables in `storage/codecs`.

A code says in which form objects are kept or sent: `IncomingCompression` and its like in dicom.ini, the last column of
acrnema.map, `~xx` behind a called AE title, arguments of commands. Case never counts. `NN` are two digits of quality:
60 to 95 for JPEG and JPEG-LS, the compression ratio 1 to 20 for JPEG 2000; without them `LossyQuality` counts. A code
makes the first of its forms, listed below by the last number of their transfer syntax, that takes the pixels. An object
that none takes is left as it is, and so are, by the JPEG codes, those of less than 8 bits and of the modalities PR, SR
and RT...; the log says why.

| Code | Meaning | Forms | Loses |
|---|---|---|---|
"""
_FORMS = """
## Forms

Lossless forms give back every pixel bit for bit. The errors promised for lossy ones, the largest and the root of the
mean square, are in percent of the range of values, for images that are smooth but for noise; JPEG-LS keeps every value
within 1 (quality 95), 2 (90) ... 8 (60) of what it was.

| Form | Transfer syntax | Bits | Photometric interpretations | Errors |
|---|---|---|---|---|
"""


def page() -> str:
    """Write the page."""
    return _HEAD + "".join(map(_code, CODECS)) + _FORMS + "".join(map(_form, FORMS.values()))


def _code(row: Codec) -> str:
    written = row.code + ("NN" if "quality" in row.pattern else "F,C" if "factor" in row.pattern else "")
    forms = ", ".join(f".{uid.rpartition('.')[2]}" for uid in row.makes)
    return f"| `{written}` | {row.text} | {forms or '-'} | {'yes' if row.lossy else 'no'} |\n"


def _form(row: Form) -> str:
    low, high = row.stored
    bits = f"{low} to {high}" if low < high else str(low)
    signs = "" if row.signed else ", unsigned"
    takes = ", ".join(sorted(row.photometrics)) if row.encode is not None else "read only"
    return f"| {row.text} | {row.transfer_syntax} | {bits}{signs} | {takes} | {'; '.join(_errors(row)) or '-'} |\n"


def _errors(row: Form) -> Iterator[str]:
    for quality, worst, typical in row.errors:
        yield f"{quality}: {worst:g} %, {typical:g} %"
