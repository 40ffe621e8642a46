"""What a transfer syntax UID says about the bytes of a data set (PS3.5 section 10 and Annex A)."""

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"

# The syntaxes between which an object can be converted without touching its pixels.
NATIVE = (IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED)

# GE's private syntax of old Advantage stations: implicit little endian elements around big endian pixel data.
_GE_IMPLICIT = "1.2.840.113619.5.2"
_PAPYRUS = "1.2.840.10008.1.20"
# Syntaxes whose whole data set is deflated: the plain one and the two JPIP ones (PS3.5 A.5, A.7, A.13).
_DEFLATED = frozenset({DEFLATED, "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
# JPEG, JPEG-LS and JPEG 2000, which the codes `uj` and `nj` leave alone; RLE, MPEG and HEVC are not among them.
_JPEG_FAMILY = frozenset(
    f"1.2.840.10008.1.2.4.{number}" for number in (*range(50, 67), 70, 80, 81, *range(90, 94), 201, 202, 203)
)


def is_implicit(transfer_syntax: str) -> bool:
    """Whether elements carry no VR; every syntax not known to be implicit is explicit."""
    return transfer_syntax in (IMPLICIT_LITTLE, _GE_IMPLICIT, _PAPYRUS)


def is_little_endian(transfer_syntax: str) -> bool:
    """Whether numbers have their least significant byte first."""
    return transfer_syntax != EXPLICIT_BIG


def is_deflated(transfer_syntax: str) -> bool:
    """Whether the whole data set is one deflate stream."""
    return transfer_syntax in _DEFLATED


def is_compressed(transfer_syntax: str) -> bool:
    """Whether pixel data has a form of its own that only a codec can undo; private syntaxes count as such."""
    return transfer_syntax not in NATIVE


def is_jpeg(transfer_syntax: str) -> bool:
    """Whether pixel data is JPEG, JPEG-LS, JPEG 2000 or HTJ2K."""
    return transfer_syntax in _JPEG_FAMILY
