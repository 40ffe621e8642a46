"""Which UIDs are storage SOP classes: the standard's, retired and future ones too, and private ones."""

from __future__ import annotations

import re
from functools import lru_cache

from pydicom.uid import UID

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_STANDARD = "1.2.840.10008."
_STANDARD_STORAGE = "1.2.840.10008.5.1.4.1.1."


@lru_cache(maxsize=4096)
def is_storage_class(uid: str) -> bool:
    """Whether `uid` may be a storage class. A private one may always be: nothing tells what it is."""
    if len(uid) > 64 or not _UID.fullmatch(uid):
        return False
    if not uid.startswith(_STANDARD):
        return True
    known = UID(uid)
    if known.name in (uid, ""):
        return uid.startswith(_STANDARD_STORAGE)
    return known.type == "SOP Class" and "Storage" in known.name and not re.search("Commitment|Directory", known.name)
