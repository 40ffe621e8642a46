"""Templates of a tagStruct and what they expand to."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgate.rev.errors import SubstitutionFailed, TagStructError
from dgate.rev.names import invented_name
from dgate.rev.tagstruct import read_tag_struct
from dgate.rev.template import parse

VALUES = {
    "PatientID": "4MR1",
    "PatientSex": "F",
    "PatientBirthDate": "20190715",
    "StudyDescription": "Brain example 0",
    "PatientName": "CompressedSamples^MR1",
    "SliceThickness": "0.8",
}


@pytest.mark.parametrize(
    ("template", "result"),
    [
        ("%PatientID-%PatientSex", "4MR1-F"),
        ("%_md5|4_PatientID", "6aad"),
        ("%_md5_PatientID", "6aadc34ffe9d83c8b5e3e7e0e5b4ad28"),
        ("%_strmsk|******01_PatientBirthDate", "20190701"),
        ("%_strmsk|**_PatientBirthDate", "20"),
        ("%_strmsk|***_*_PatientID", "4MR_"),
        ("%_nospc|-_StudyDescription", "Brain-example-0"),
        ("%_nospc_StudyDescription", "Brainexample0"),
        ("%SliceThickness mm", "0.8 mm"),
        ("%_md5|4_PatientID/%_nospc_PatientID/%PatientID", "6aad/4MR1/4MR1"),
        ("%PatientIDs", "4MR1s"),
        ("%AccessionNumber", ""),
        ("100%, %%PatientID", "100%, %PatientID"),
        ("anon", "anon"),
        ("", ""),
    ],
)
def test_a_template_expands_from_left_to_right(template: str, result: str) -> None:
    expanded = parse(template).expanded(VALUES.get)
    assert expanded == result if "_md5_" not in template else (len(expanded), expanded[:4]) == (32, "6aad")


def test_an_invented_name_depends_on_the_value_and_the_seed_alone() -> None:
    expanded = parse("%_name|patientID_PatientName").expanded(VALUES.get, "s")
    assert expanded == invented_name("4MR1", "s") == "MERCER^CARA^ANON"
    assert parse("%_name_PatientName").expanded(VALUES.get, "s") == invented_name("CompressedSamples^MR1", "s")
    assert len({invented_name(str(number), "s") for number in range(100)}) > 90
    assert invented_name("4MR1", "t") != expanded


def test_absent_elements_are_an_error_only_when_that_is_asked_for() -> None:
    with pytest.raises(SubstitutionFailed, match="AccessionNumber is absent"):
        parse("%AccessionNumber").expanded(VALUES.get, strict=True)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("%Patient", "begins with no keyword"),
        ("%_md6_PatientID", "names no function"),
        ("%_md5|x_PatientID", "from 1 to 32"),
        ("%_md5|33_PatientID", "from 1 to 32"),
        ("%_md5|4_Nothing", "lacks a keyword"),
        ("%_strmsk_PatientID", "needs a mask"),
        ("%_name|PatientID_PatientName", "small first letter"),
        ("%_name|nothing_PatientName", "small first letter"),
        ("x" * 10_001, "longer than"),
    ],
)
def test_a_template_that_means_nothing_is_refused(template: str, message: str) -> None:
    with pytest.raises(TagStructError, match=message):
        parse(template)


@given(st.text() | st.text("%_|*PatientIDmd5str", max_size=40))
def test_any_text_is_a_template_or_refused_in_one_line(text: str) -> None:
    try:
        template = parse(text)
    except TagStructError as refused:
        error = refused
    else:
        assert isinstance(template.expanded(VALUES.get), str)
        return
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "is no object of texts"),
        ('{"PatientID": 1}', "is no object of texts"),
        ('{"PatientIdentity": "x"}', "is no keyword"),
        ('{"SOPInstanceUID": "1.2"}', "cannot be replaced"),
        ('{"DeidentificationMethod": "x"}', "cannot be replaced"),
        ('{"PixelData": "x"}', "holds no text"),
        ('{"OtherPatientIDsSequence": "x"}', "holds no text"),
        ('{"re:(": "x"}', "no regular expression"),
        ('{"re:.*Name": "%_md6_#tag"}', "names no function"),
    ],
)
def test_a_tag_struct_that_means_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(TagStructError, match=message):
        read_tag_struct(text)


def test_an_exact_key_goes_before_expressions_and_those_match_from_the_start() -> None:
    struct = read_tag_struct(
        json.dumps({"re:.*hysician": "#tag", "ReferringPhysicianName": "exact", "re:Station": "s"})
    )
    referring, performing, station, institution = 0x00080090, 0x00081050, 0x00081010, 0x00080080
    found = [None if (one := struct.of(tag)) is None else one.parts for tag in (referring, performing, station)]
    assert found == [("exact",), ("PerformingPhysicianName",), ("s",)]
    assert struct.of(institution) is None
