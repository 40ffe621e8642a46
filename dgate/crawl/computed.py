"""Fields that are worked out of an object's sequences: what it refers to, what its regions are called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from dgate.crawl.fields import EVIDENCE, RT_SERIES, tag
from storage.header import Item

Computed = Callable[[Item], object]


def _texts(items: Iterable[Item], keyword: str) -> list[str]:
    """The values of an element in those items that have one."""
    return [text for item in items if (text := item.text(tag(keyword)))]


def _below(root: Item, keywords: str) -> list[Item]:
    return root.items(*(tag(keyword) for keyword in keywords.split(".")))


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _first(items: list[Item], keyword: str) -> str:
    return items[0].text(tag(keyword)) if items else ""


def _sop_uids(items: Iterable[Item]) -> list[str]:
    return _texts(items, "ReferencedSOPInstanceUID")


# SEG


def _seg_spacing(root: Item) -> object:
    measures = _below(root, "SharedFunctionalGroupsSequence.PixelMeasuresSequence")
    between = _first(measures, "SpacingBetweenSlices") or _first(measures, "SliceThickness")
    in_plane = _first(measures, "PixelSpacing").split("\\")
    return [float(in_plane[0]), float(in_plane[1]), float(between)] if between and len(in_plane) > 1 else ""


def _seg_direction(root: Item) -> object:
    orientations = _below(root, "SharedFunctionalGroupsSequence.PlaneOrientationSequence")
    values = _first(orientations, "ImageOrientationPatient")
    return [float(value) for value in values.split("\\")] if values else ""


def _segments(root: Item, keyword: str) -> object:
    if tag("SegmentSequence") not in root.values:
        return ""
    return [item.text(tag(keyword)) for item in _below(root, "SegmentSequence")]


def _seg_series(root: Item) -> object:
    """The series with most of the referenced instances, the first of equals."""
    named = [item for item in _below(root, "ReferencedSeriesSequence") if item.text(tag("SeriesInstanceUID"))]
    counts: dict[str, int] = {}
    for item in named:
        uid = item.text(tag("SeriesInstanceUID"))
        counts[uid] = counts.get(uid, 0) + len(_below(item, "ReferencedInstanceSequence"))
    return max(counts, key=lambda uid: counts[uid], default="")


def _seg_instances(root: Item) -> object:
    if tag("ReferencedSeriesSequence") in root.values:
        return _sop_uids(_below(root, "ReferencedSeriesSequence.ReferencedInstanceSequence"))
    if tag("SourceImageSequence") in root.values:
        return _sop_uids(_below(root, "SourceImageSequence"))
    groups = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
    sources = [
        item for group in groups for item in _below(root, f"{group}.DerivationImageSequence.SourceImageSequence")
    ]
    return _distinct(_sop_uids(sources))


# RTSTRUCT


def _roi_names(root: Item) -> object:
    if tag("StructureSetROISequence") not in root.values:
        return ""
    return [item.text(tag("ROIName")) for item in _below(root, "StructureSetROISequence")]


def _roi_count(root: Item) -> object:
    names = _roi_names(root)
    return len(names) if isinstance(names, list) else ""


def _structure_set_series(root: Item) -> object:
    return next(iter(_texts(_below(root, RT_SERIES), "SeriesInstanceUID")), "")


def _structure_set_images(root: Item) -> object:
    listed = _sop_uids(_below(root, f"{RT_SERIES}.ContourImageSequence"))
    drawn_on = _sop_uids(_below(root, "ROIContourSequence.ContourSequence.ContourImageSequence"))
    return _distinct([*listed, *drawn_on])


# RTPLAN, RTDOSE


def _structure_set_of_plan(root: Item) -> object:
    return [_first(_below(root, "ReferencedStructureSetSequence"), "ReferencedSOPInstanceUID")]


def _dose_references(root: Item) -> tuple[str, str, str]:
    """SOP instance UIDs of image (a series UID in some old objects), structure set and plan."""
    image, structures, plan = (
        _first(_below(root, sequence), "ReferencedSOPInstanceUID")
        for sequence in ("ReferencedImageSequence", "ReferencedStructureSetSequence", "ReferencedRTPlanSequence")
    )
    return image, structures, plan


def _image_of_dose(root: Item) -> object:
    return _dose_references(root)[0]


def _structures_or_plan_of_dose(root: Item) -> object:
    _, structures, plan = _dose_references(root)
    return [structures or plan]


def _all_of_dose(root: Item) -> object:
    return [uid for uid in _dose_references(root) if uid]


# SR


def _evidence_series(root: Item) -> object:
    return _distinct(_texts(_below(root, EVIDENCE), "SeriesInstanceUID"))


def _evidence_instances(root: Item) -> object:
    return _distinct(_sop_uids(_below(root, f"{EVIDENCE}.ReferencedSOPSequence")))


COMPUTED: Mapping[str, Mapping[str, Computed]] = {
    "SEG": {
        "SegSpacing": _seg_spacing,
        "SegDirection": _seg_direction,
        "ROINames": lambda root: _segments(root, "SegmentLabel"),
        "ROIDescriptions": lambda root: _segments(root, "SegmentDescription"),
        "ReferencedSeriesUID": _seg_series,
        "ReferencedSOPUIDs": _seg_instances,
    },
    "RTSTRUCT": {
        "ROINames": _roi_names,
        "NumROIs": _roi_count,
        "ReferencedSeriesUID": _structure_set_series,
        "ReferencedSOPUIDs": _structure_set_images,
    },
    "RTDOSE": {
        "ReferencedSeriesUID": _image_of_dose,
        "ReferencedSeriesSOPUIDs": _structures_or_plan_of_dose,
        "ReferencedSOPUIDs": _all_of_dose,
    },
    "RTPLAN": {"ReferencedSOPUIDs": _structure_set_of_plan},
    "SR": {"ReferencedSeriesUID": _evidence_series, "ReferencedSOPUIDs": _evidence_instances},
}


def several_structure_sets(root: Item) -> bool:
    """Whether a plan names more than one structure set, of which the first counts."""
    return len(_below(root, "ReferencedStructureSetSequence")) > 1
