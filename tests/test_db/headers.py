"""Header values and keys by DICOM keyword, as the tests of the index need them."""

from pydicom.datadict import tag_for_keyword

from db.schema import TagPath

CT = "1.2.840.10008.5.1.4.1.1.2"


def path_of(keyword: str) -> TagPath:
    """Return the path of an element, or of one in sequences: ``ScheduledProcedureStepSequence/Modality``."""
    tags = [tag_for_keyword(word) for word in keyword.split("/")]
    assert None not in tags, keyword
    return tuple(int(tag) for tag in tags if tag is not None)


def header(**elements: str | None) -> dict[TagPath, str]:
    """Return the header values of a CT image 1.1.1.1 of patient P1; None takes an element away."""
    values: dict[str, str | None] = {
        "PatientID": "P1",
        "PatientName": "DOE^JOHN",
        "StudyInstanceUID": "1.1",
        "SeriesInstanceUID": "1.1.1",
        "SOPInstanceUID": "1.1.1.1",
        "SOPClassUID": CT,
        "Modality": "CT",
    }
    return {path_of(keyword): value for keyword, value in (values | elements).items() if value is not None}


def keys(**elements: str) -> dict[TagPath, str]:
    return {path_of(keyword): value for keyword, value in elements.items()}
