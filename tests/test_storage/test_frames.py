"""What a header says of single frames, cut to the frames that are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from storage.errors import NotConvertible, NotDicom
from storage.frames import count_frames, keep_frames
from tests.objects import encoded
from tests.pictures import image_of

SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
]


def made(frames: int = 4, *, undefined: bool = False) -> Dataset:
    """An object with functional groups of each frame, and a vector of each kind that there is."""
    dataset = image_of(np.zeros((frames, 2, 2), np.uint16))
    dataset.FrameTimeVector = [f"{10 * number}" for number in range(frames)]
    dataset.DetectorVector = list(range(1, frames + 1))
    dataset.EnergyWindowVector = [7, 8]
    dataset.FrameIncrementPointer = [0x00181065, 0x00540020, 0x00540010]
    groups = []
    for number in range(frames):
        group, content = Dataset(), Dataset()
        content.FrameComments = f"frame {number}"
        group.FrameContentSequence = Sequence([content])
        group.FrameContentSequence.is_undefined_length = undefined
        group.is_undefined_length_sequence_item = undefined
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    dataset["PerFrameFunctionalGroupsSequence"].is_undefined_length = undefined
    return dataset


def comments(dataset: Dataset) -> list[str]:
    return [str(group.FrameContentSequence[0].FrameComments) for group in dataset.PerFrameFunctionalGroupsSequence]


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [False, True])
def test_groups_and_vectors_of_the_frames_that_are_kept_stay(tmp_path: Path, syntax: str, undefined: bool) -> None:
    source = made(undefined=undefined)
    (tmp_path / "in").write_bytes(encoded(source, syntax))
    assert keep_frames(tmp_path / "in", (1, 2), tmp_path / "out")
    kept = pydicom.dcmread(tmp_path / "out")
    assert comments(kept) == ["frame 1", "frame 2"]
    assert [float(time) for time in kept.FrameTimeVector] == [10, 20]
    assert list(kept.DetectorVector) == [2, 3]
    # Two values for four frames are no vector of them.
    assert list(kept.EnergyWindowVector) == [7, 8]
    kept.PerFrameFunctionalGroupsSequence = source.PerFrameFunctionalGroupsSequence
    kept.FrameTimeVector, kept.DetectorVector = source.FrameTimeVector, source.DetectorVector
    assert {element.tag: element.value for element in kept} == {
        element.tag: element.value for element in pydicom.dcmread(tmp_path / "in")
    }


def test_a_header_that_says_nothing_of_frames_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(encoded(image_of(np.zeros((3, 2, 2), np.uint16))))
    assert not keep_frames(tmp_path / "in", (0,), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_frame_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(encoded(made()))
    for frames in ((4,), (0, 9), (-1,)):
        with pytest.raises(NotConvertible, match="it has no frame"):
            keep_frames(tmp_path / "in", frames, tmp_path / "out")


def test_frames_are_counted_by_the_header(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(encoded(made(7)))
    assert count_frames(tmp_path / "in") == "7"
    (tmp_path / "in").write_bytes(encoded(image_of(np.zeros((2, 2), np.uint16))))
    assert count_frames(tmp_path / "in") == ""
    (tmp_path / "in").write_bytes(b"not DICOM at all, but long enough to be looked at")
    with pytest.raises(NotDicom):
        count_frames(tmp_path / "in")
