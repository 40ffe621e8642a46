"""Objects whose bytes are known, and what a server may be found to have of each after any number of crashes."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from pydicom.uid import CTImageStorage

_PREFIX = "1.2.826.0.1.3680043.10.1.3."


def object_bytes(uid: str, study: str, patient: str, version: int, pixels: int = 0) -> bytes:
    """A CT object in explicit little endian; another `version` has other bytes."""
    elements = (
        (0x0008, 0x0016, b"UI", str(CTImageStorage).encode()),
        (0x0008, 0x0018, b"UI", uid.encode()),
        (0x0008, 0x0020, b"DA", b"20260102"),
        (0x0008, 0x0060, b"CS", b"CT"),
        (0x0008, 0x103E, b"LO", b"version %d" % version),
        (0x0010, 0x0010, b"PN", b"DOE^JOHN"),
        (0x0010, 0x0020, b"LO", patient.encode()),
        (0x0020, 0x000D, b"UI", study.encode()),
        (0x0020, 0x000E, b"UI", f"{study}.1".encode()),
        (0x0020, 0x0013, b"IS", b"%d" % (version % 1000)),
    )
    data = b"".join(_element(*each) for each in elements)
    if pixels:
        value = struct.pack("<I", version) * (pixels // 4)
        data += struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, len(value)) + value
    return data


def made_uid(*numbers: int) -> str:
    """A UID of those numbers."""
    return _PREFIX + ".".join(map(str, numbers))


def _element(group: int, element: int, vr: bytes, value: bytes) -> bytes:
    if len(value) & 1:
        value += b"\0" if vr == b"UI" else b" "
    return struct.pack("<HH2sH", group, element, vr, len(value)) + value


@dataclass(slots=True)
class Life:
    """What may be found of one object, None for nothing: what was acknowledged, and what was asked for since."""

    possible: set[bytes | None] = field(default_factory=lambda: {None})
    versions: int = 0

    def asked(self, outcome: bytes | None) -> None:
        """Something was asked for that may or may not be done when no answer comes."""
        self.possible.add(outcome)

    def acknowledged(self, outcome: bytes | None) -> None:
        """Nothing else may be found from now on."""
        self.possible = {outcome}
