"""Bringing an object into the first of several forms that it fits; for codec processes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from storage.errors import CodecFailed, NotConvertible
from storage.part10 import read_object_file
from storage.transcode import Transcoded, Wanted, transcode


def transcode_first(path: Path, choices: Sequence[Wanted], out: Path) -> Transcoded:
    """Do the first of `choices` that the object fits, as `storage.transcode.transcode` does, and tell what came of it.

    An object that fits none stays as it is, for the reason that the first of them has. Where a codec failed for one
    and the others do not serve either, CodecFailed is raised; NotDicom and OSError as they come.
    """
    reasons: list[str] = []
    failed: CodecFailed | None = None
    for wanted in choices:
        try:
            done = transcode(path, wanted, out)
        except NotConvertible as error:
            reasons.append(str(error))
            continue
        except CodecFailed as error:
            failed = error
            continue
        if done.changed:
            return done
        reasons.append(done.reason)
    out.unlink(missing_ok=True)
    if failed is not None:
        raise failed
    file = read_object_file(path)
    reason = reasons[0] if reasons else "there is nothing to make of it"
    return Transcoded(file.transfer_syntax, file.sop_class, file.sop_instance, changed=False, reason=reason)
