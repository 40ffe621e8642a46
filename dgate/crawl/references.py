"""Which series a series refers to: by series UID, by the instances it names, or by its frame of reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dgate.crawl.extract import Fields

# These name instances, through which their series is found when it is not named itself.
_BY_INSTANCE = ("SEG", "RTSTRUCT", "RTDOSE", "RTPLAN")


@dataclass(slots=True)
class Series:
    """What is known of a series of the tree, all acquisitions together, that others may refer to."""

    uid: str
    modality: str
    study: str
    frames: set[str] = field(default_factory=set)
    instances: int = 0


@dataclass(frozen=True, slots=True)
class Reference:
    """What an entry refers to: one series UID, or several joined by ``;`` (SR), "" for none.

    `modality` is None when the series is not in the tree. `warnings` say what was not clear.
    """

    series: str = ""
    modality: str | None = ""
    warnings: tuple[str, ...] = ()

    @property
    def resolved(self) -> bool:
        return bool(self.series) and bool(self.modality)


class Resolver:
    """Finds references among the series of one tree; `series_of` gives the series of an instance."""

    def __init__(self, series: Iterable[Series], series_of: Callable[[str], str | None]) -> None:
        self._series: Mapping[str, Series] = {one.uid: one for one in series}
        self._series_of = series_of
        self._ct_of_frame: dict[str, list[Series]] = {}
        for one in self._series.values():
            if one.modality == "CT":
                for frame in one.frames:
                    self._ct_of_frame.setdefault(frame, []).append(one)

    def resolve(self, fields: Fields) -> Reference:
        """The reference of an entry with these fields."""
        modality = str(fields["Modality"]).upper()
        named = fields.get("ReferencedSeriesUID", "")
        if isinstance(named, list):
            return self._several([str(uid) for uid in named])
        warnings: tuple[str, ...] = ()
        uid = str(named)
        if modality == "RTDOSE":
            uid, warnings = self._dose(uid, _texts(fields.get("ReferencedSOPUIDs")))
        elif not uid and modality in _BY_INSTANCE:
            uid, warnings = self._by_instances(_texts(fields.get("ReferencedSOPUIDs")))
        elif not uid and modality == "PT":
            uid = self._ct_of(str(fields["FrameOfReferenceUID"]), str(fields["StudyInstanceUID"]))
        if not uid:
            return Reference(warnings=warnings)
        if uid not in self._series:
            return Reference(uid, None, (*warnings, f"it refers to {uid}, which is not in the tree"))
        return Reference(uid, self._series[uid].modality, warnings)

    def _several(self, uids: Sequence[str]) -> Reference:
        modalities = ";".join(self._series[uid].modality for uid in uids if uid in self._series)
        missing = tuple(f"it refers to {uid}, which is not in the tree" for uid in uids if uid not in self._series)
        return Reference(";".join(uids), modalities, missing)

    def _by_instances(self, sops: Sequence[str]) -> tuple[str, tuple[str, ...]]:
        """The series that most of the instances are in, the first named of equals."""
        found = Counter(uid for sop in sops if (uid := self._series_of(sop)) is not None)
        if not found:
            none = f"none of the {len(sops)} instances it refers to is in the tree"
            return "", (none,) if sops else ()
        (uid, _), *others = found.most_common()
        return uid, (f"it refers to {len(others) + 1} series, of which {uid} counts",) if others else ()

    def _dose(self, image: str, sops: Sequence[str]) -> tuple[str, tuple[str, ...]]:
        """The series of a dose: that of its image (or the series itself), structure set or plan, the first known.

        `sops` are the three in that order, as many as the object has.
        """
        if image in self._series:
            return image, ()
        for sop in sops:
            uid = self._series_of(sop)
            if uid is not None:
                return uid, ()
        # A UID that leads nowhere stays, as any other reference out of the tree does.
        return image, () if image or not sops else (f"none of the {len(sops)} instances it refers to is in the tree",)

    def _ct_of(self, frame: str, study: str) -> str:
        """The CT in a frame of reference: of the same study rather, then the larger, then by UID."""
        candidates = self._ct_of_frame.get(frame, ())
        best = min(candidates, key=lambda one: (one.study != study, -one.instances, one.uid), default=None)
        return "" if best is None else best.uid


def _texts(values: object) -> list[str]:
    return [text for value in values if (text := str(value))] if isinstance(values, list) else []
