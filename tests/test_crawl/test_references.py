"""What a series refers to, in every way there is to say so."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from tests.test_crawl.crawling import crawled, database, table, tree
from tests.test_crawl.material import (
    CT,
    FRAME,
    by_series,
    conformant_pt,
    ct,
    dose,
    instance,
    item,
    of_series,
    plan,
    pt,
    refers,
    report,
    segmentation,
    sops,
    structure_set,
    uid,
)

# What the cases refer to: two CT, a structure set, a plan and a segmentation.
SURROUNDINGS = {
    "ct/1.dcm": ct(1, 1),
    "ct/2.dcm": ct(1, 2),
    "ct/3.dcm": ct(1, 3),
    "ct/other.dcm": ct(2, 1, FrameOfReferenceUID="1.2.3"),
    "rs.dcm": structure_set(201, by_series(1)),
    "rp.dcm": plan(301, 201),
    "seg.dcm": segmentation(501, ReferencedSeriesSequence=[of_series(1)]),
}

CASES = {
    "a structure set with the UID of the series": (structure_set(210, by_series(1)), uid(1), "CT"),
    "a structure set with contour images alone": (
        structure_set(210, [item(ReferencedSOPInstanceUID="1")], contours=2),
        uid(1),
        "CT",
    ),
    "a structure set whose series has images and no UID": (structure_set(210, by_series(None, 2)), uid(1), "CT"),
    "a structure set with contours and no frame of reference": (structure_set(210, contours=3), uid(1), "CT"),
    "a plan": (plan(310, 201), uid(201), "RTSTRUCT"),
    "a dose with a plan alone": (dose(410, ReferencedRTPlanSequence=refers(301)), uid(301), "RTPLAN"),
    "a dose with structure set and plan": (
        dose(410, ReferencedRTPlanSequence=refers(301), ReferencedStructureSetSequence=refers(201)),
        uid(201),
        "RTSTRUCT",
    ),
    "a dose with an image": (dose(410, ReferencedImageSequence=refers(1, 2)), uid(1), "CT"),
    "a dose with a series in the place of an image": (
        dose(410, ReferencedImageSequence=[item(ReferencedSOPInstanceUID=CT)]),
        uid(1),
        "CT",
    ),
    "a segmentation with the UID of the series": (
        segmentation(510, ReferencedSeriesSequence=[of_series(1)]),
        uid(1),
        "CT",
    ),
    "a segmentation with source images": (segmentation(510, SourceImageSequence=sops(1, 2)), uid(1), "CT"),
    "a PET in the frame of reference of a CT": (pt(610), uid(1), "CT"),
    "a report": (report(710, 1, 501), f"{uid(1)};{uid(501)}", "CT;SEG"),
    "an RT image": (instance("RTIMAGE", 810), "", ""),
    "a registration": (instance("REG", 810), "", ""),
}


@pytest.mark.parametrize("case", CASES)
def test_a_series_refers_to_what_it_should(tmp_path: Path, case: str) -> None:
    made, series, modality = CASES[case]
    summary = crawled(tree(tmp_path / "T", {**SURROUNDINGS, "case.dcm": made}))
    (row,) = [row for row in table(summary) if row["SeriesInstanceUID"] == made.SeriesInstanceUID]
    assert (row["ReferencedSeriesUID"], row["ReferencedModality"]) == (series, modality)
    entry = database(summary)[made.SeriesInstanceUID]["1"]
    assert (entry.get("ReferencedSeriesUID", ""), entry["ReferencedModality"]) == (series, modality)


def found(tmp_path: Path, made: Dataset, **more: Dataset) -> tuple[str, str]:
    """What the object is found to refer to, beside these other files."""
    others = {f"{name}.dcm": other for name, other in more.items()}
    summary = crawled(tree(tmp_path / "T", {**others, "case.dcm": made}))
    (row,) = [row for row in table(summary) if row["SeriesInstanceUID"] == made.SeriesInstanceUID]
    return row["ReferencedSeriesUID"], row["ReferencedModality"]


def test_a_structure_set_lists_all_images_it_draws_on_once(tmp_path: Path) -> None:
    made = structure_set(210, by_series(1, 1), contours=3)
    summary = crawled(tree(tmp_path / "T", {"rs.dcm": made}))
    assert database(summary)[uid(210)]["1"]["ReferencedSOPUIDs"] == [f"{uid(1)}.{number}" for number in (1, 2, 3)]


def test_a_structure_set_is_linked_to_a_ct_of_another_study(tmp_path: Path) -> None:
    made = structure_set(210, contours=1, StudyInstanceUID="9.9")
    assert found(tmp_path, made, ct=ct(1, 1)) == (uid(1), "CT")


def test_the_series_with_most_of_the_images_counts_and_the_first_of_equals(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = [*sops(1, 1), *sops(2, 2), *sops(3, 2)]
    others = {f"ct{series}{number}": ct(series, number) for series in (1, 2, 3) for number in (1, 2)}
    assert found(tmp_path, segmentation(510, SourceImageSequence=images), **others) == (uid(2), "CT")
    assert f"series {uid(510)} (T/case.dcm): it refers to 3 series, of which {uid(2)} counts" in caplog.messages


def test_a_segmentation_of_two_series_belongs_to_the_one_with_more_images(tmp_path: Path) -> None:
    both = [of_series(2, 1), of_series(1, 2)]
    summary = crawled(tree(tmp_path / "T", {"s.dcm": segmentation(510, ReferencedSeriesSequence=both), "c.dcm": ct(1)}))
    entry = database(summary)[uid(510)]["1"]
    assert (entry["ReferencedSeriesUID"], entry["ReferencedModality"]) == (uid(1), "CT")
    assert entry["ReferencedSOPUIDs"] == [f"{uid(2)}.1", f"{uid(1)}.1", f"{uid(1)}.2"]


def test_a_segmentation_is_found_by_the_source_images_of_its_frames(tmp_path: Path) -> None:
    def derived(number: int) -> Dataset:
        return item(DerivationImageSequence=[item(SourceImageSequence=refers(1, number))])

    made = segmentation(
        510, SharedFunctionalGroupsSequence=[derived(1)], PerFrameFunctionalGroupsSequence=[derived(2), derived(1)]
    )
    summary = crawled(tree(tmp_path / "T", {"seg.dcm": made, "ct.dcm": ct(1, 2)}))
    entry = database(summary)[uid(510)]["1"]
    assert entry["ReferencedSOPUIDs"] == [f"{uid(1)}.1", f"{uid(1)}.2"]
    assert (entry["ReferencedSeriesUID"], entry["ReferencedModality"]) == (uid(1), "CT")


def test_a_pet_goes_with_the_ct_of_its_study_then_the_larger_then_the_smaller_uid(tmp_path: Path) -> None:
    elsewhere = {f"a{number}": ct(1, number, StudyInstanceUID="9.9") for number in (1, 2, 3)}
    assert found(tmp_path / "study", pt(610), **elsewhere, b=ct(8)) == (uid(8), "CT")
    assert found(tmp_path / "size", pt(610), a=ct(1), b=ct(8, 1), c=ct(8, 2)) == (uid(8), "CT")
    assert found(tmp_path / "uid", pt(610), a=ct(8), b=ct(2)) == (uid(2), "CT")
    assert found(tmp_path / "frame", pt(610, FrameOfReferenceUID="1.2"), a=ct(8)) == ("", "")
    assert found(tmp_path / "none", pt(610, FrameOfReferenceUID=""), a=ct(8, FrameOfReferenceUID="")) == ("", "")


def test_a_dose_with_an_unknown_image_is_found_by_its_structure_set_or_plan(tmp_path: Path) -> None:
    everything = {
        "ReferencedImageSequence": refers(77),
        "ReferencedStructureSetSequence": refers(201),
        "ReferencedRTPlanSequence": refers(301),
    }
    made = dose(410, **everything)
    assert found(tmp_path / "both", made, rs=structure_set(201), rp=plan(301, 201)) == (uid(201), "RTSTRUCT")
    assert found(tmp_path / "plan", made, rp=plan(301, 201)) == (uid(301), "RTPLAN")
    summary = crawled(tree(tmp_path / "T", {"dose.dcm": made}))
    entry = database(summary)[uid(410)]["1"]
    assert entry["ReferencedSeriesSOPUIDs"] == [f"{uid(201)}.1"]
    assert entry["ReferencedSOPUIDs"] == [f"{uid(77)}.1", f"{uid(201)}.1", f"{uid(301)}.1"]


def test_a_reference_out_of_the_tree_is_kept_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    summary = crawled(tree(tmp_path / "T", {"rs.dcm": structure_set(210, by_series(77)), "ct.dcm": ct(1)}))
    entry = database(summary)[uid(210)]["1"]
    assert entry["ReferencedSeriesUID"] == uid(77)
    assert "ReferencedModality" not in entry
    assert (summary.resolved, summary.unresolved) == (0, 1)
    assert caplog.messages == [f"series {uid(210)} (T/rs.dcm): it refers to {uid(77)}, which is not in the tree"]


def test_a_plan_with_two_structure_sets_refers_to_the_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = plan(310, 201, ReferencedStructureSetSequence=[*refers(201), *refers(202)])
    assert found(tmp_path, made, a=structure_set(201), b=structure_set(202)) == (uid(201), "RTSTRUCT")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert caplog.messages == [
        f"series {uid(310)} (T/case.dcm): it refers to more than one structure set, of which the first counts"
    ]


def test_values_of_a_conformant_pet_are_found_in_its_sequence(tmp_path: Path) -> None:
    summary = crawled(tree(tmp_path / "T", {"pt.dcm": conformant_pt(610)}))
    entry = database(summary)[uid(610)]["1"]
    assert (entry["Radiopharmaceutical"], entry["RadionuclideTotalDose"]) == ("FDG", "3.7e8")
    assert (
        "(0008,0104) Code Meaning                        LO: 'Fluorodeoxyglucose F^18^'"
        in (entry["RadiopharmaceuticalCodeSequence"])
    )
    assert entry["FrameOfReferenceUID"] == FRAME


def test_a_number_that_is_none_leaves_its_field_empty_and_is_not_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spacing = item(SliceThickness="2.5")
    spacing.add_new("PixelSpacing", "LO", ["DOE", "JOHN"])
    made = segmentation(510, SharedFunctionalGroupsSequence=[item(PixelMeasuresSequence=[spacing])])
    summary = crawled(tree(tmp_path / "T", {"seg.dcm": made}))
    assert database(summary)[uid(510)]["1"]["SegSpacing"] == ""
    assert caplog.messages == [
        f"series {uid(510)} (T/seg.dcm): SegSpacing is left empty: it is made of a value that is no number"
    ]
