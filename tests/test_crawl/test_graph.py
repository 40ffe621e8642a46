"""The graph of an index: trees, questions, pictures."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from dgate.crawl.errors import (
    CrawlError,
    DuplicateRowError,
    MissingDependencyModalityError,
    UnsupportedModalityError,
)
from dgate.crawl.graph import Forest, Node, find_index, read_index
from dgate.crawl.output import COLUMNS, IndexRow
from dgate.crawl.show import tree
from dgate.crawl.svg import svg


def row(modality: str, uid: str, refers: str = "", patient: str = "P01", **more: object) -> IndexRow:
    values = dict.fromkeys(COLUMNS, "") | {
        "PatientID": patient, "SeriesInstanceUID": uid, "SubSeries": "1", "Modality": modality,
        "ReferencedSeriesUID": refers, "instances": 1, "folder": f"D/{patient}/{uid}", **more,
    }  # fmt: skip
    return IndexRow(**values)  # type: ignore[arg-type]


# A CT with structure set, plan and the plan's dose, a PET with a structure set; a CT with loose dose and structures.
ROWS = (
    row("CT", "1"),
    row("RTSTRUCT", "11", "1"),
    row("RTPLAN", "12", "11"),
    row("RTDOSE", "13", "12"),
    row("PT", "14", "1"),
    row("RTSTRUCT", "15", "14"),
    row("CT", "2", patient="P02"),
    row("RTSTRUCT", "21", "2", patient="P02"),
    row("RTDOSE", "22", "2", patient="P02"),
    row("SR", "23", "2;21", patient="P02", ReferencedModality="CT;RTSTRUCT"),
    row("RTSTRUCT", "31", "99", patient="P00"),
    row("MR", "32", patient="P00"),
)


def uids(found: list[list[Node]]) -> list[list[str]]:
    return [[node.row.SeriesInstanceUID for node in nodes] for nodes in found]


def ask(modalities: str, **how: bool) -> list[list[str]]:
    return uids(Forest(ROWS).query(modalities.split(","), **how))


def test_every_structure_set_comes_with_its_ct_and_dose() -> None:
    assert ask("RTSTRUCT,CT,RTDOSE", grouped=False) == [["1", "11", "13"], ["2", "21", "22"]]


def test_on_one_path_a_dose_beside_the_structure_set_does_not_count() -> None:
    assert ask("CT,RTSTRUCT,RTDOSE", same_path=True) == [["1", "11", "13"]]


def test_the_parent_of_a_structure_set_must_be_asked_for() -> None:
    assert ask("CT,RTSTRUCT") == [["1", "11"], ["2", "21"]]
    assert ask("CT,PT,RTSTRUCT", grouped=False) == [["1", "14", "15"]]


def test_results_of_one_root_are_joined_in_the_order_of_the_table() -> None:
    assert ask("CT,PT") == [["1", "14"]]
    assert ask("*") == [["1", "11", "13", "14", "15"], ["2", "21", "22"], ["32"]]
    assert ask("*", grouped=False) == [["1", "11", "13"], ["1", "14", "15"], ["2", "21"], ["2", "22"], ["32"]]


def test_questions_without_meaning_are_refused() -> None:
    forest = Forest(ROWS)
    with pytest.raises(UnsupportedModalityError, match=r"^RTPLAN, XX cannot be asked for: CT, MR, PT, SEG, "):
        forest.query(["CT", "XX", "RTPLAN"])
    with pytest.raises(MissingDependencyModalityError, match=r"^RTDOSE needs CT or MR or PT in the query$"):
        forest.query(["RTDOSE"])
    with pytest.raises(MissingDependencyModalityError, match=r"^SEG needs CT or MR in the query$"):
        forest.query(["SEG", "PT"])


def test_rows_that_differ_only_in_sub_series_are_refused_and_others_are_not() -> None:
    with pytest.raises(DuplicateRowError, match=r"without --all-subseries$"):
        Forest([row("CT", "1"), row("CT", "1", SubSeries="2")])
    forest = Forest([row("CT", "1"), row("CT", "1", SubSeries="2", instances=7)])
    assert [node.row.instances for node in forest.roots] == [7]


def test_references_in_a_circle_and_very_long_ones_end() -> None:
    circle = Forest([row("CT", "1", "2"), row("CT", "2", "1"), row("PT", "3", "3")])
    assert len(list(tree(circle))) == 7
    assert uids(circle.query(["CT"])) == [["1", "2"], ["2", "1"]]
    chain = Forest([row("CT", "0"), *(row("RTDOSE", str(n), str(n - 1)) for n in range(1, 3000))])
    assert len(list(chain.paths())) == 64
    assert len(list(tree(chain))) > 3000
    ElementTree.fromstring(svg(chain))


def test_the_tree_is_what_a_person_reads() -> None:
    assert list(tree(Forest(ROWS))) == [
        "Patients",
        "├── P00",
        "│   ├── MR (Series-32)                                   1 file       D/P00/32",
        f"{'│   └── RTSTRUCT (Series-31)':<56} {'1 file':<12} D/P00/31  [refers to what is not here: ...99]",
        "├── P01",
        "│   └── CT (Series-1)                                    1 file       D/P01/1",
        "│       ├── RTSTRUCT (Series-11)                         1 file       D/P01/11",
        "│       │   └── RTPLAN (Series-12)                       1 file       D/P01/12",
        "│       │       └── RTDOSE (Series-13)                   1 file       D/P01/13",
        "│       └── PT (Series-14)                               1 file       D/P01/14",
        "│           └── RTSTRUCT (Series-15)                     1 file       D/P01/15",
        "└── P02",
        "    ├── CT (Series-2)                                    1 file       D/P02/2",
        "    │   ├── RTSTRUCT (Series-21)                         1 file       D/P02/21",
        "    │   └── RTDOSE (Series-22)                           1 file       D/P02/22",
        f"{'    └── SR (Series-23)':<56} {'1 file':<12} D/P02/23  [refers to CT;RTSTRUCT: ...2, ...21]",
    ]


def test_the_picture_is_well_formed_whatever_an_object_calls_itself() -> None:
    hostile = "<script>alert('x')</script>\x00\x1b[2J & \ud800"
    rows = [row("CT", "1", patient=hostile, folder=hostile), row(hostile, hostile, "1", patient=hostile)]
    picture = ElementTree.fromstring(svg(Forest(rows)))
    space = "{http://www.w3.org/2000/svg}"
    assert [len(picture.findall(f"{space}{name}")) for name in ("g", "path", "script")] == [2, 1, 0]
    assert not list(picture.iter(f"{space}script"))
    assert "\x1b" not in "".join(tree(Forest(rows)))


def test_an_index_is_found_by_any_of_its_names(tmp_path: Path) -> None:
    root = tmp_path / "T"
    directory = tmp_path / ".imgtools" / "T"
    directory.mkdir(parents=True)
    root.mkdir()
    with pytest.raises(CrawlError, match=f"^{root} has no index.csv: crawl it first, dgate crawl {root}$"):
        find_index(root)
    (directory / "index.csv").write_text(",".join(COLUMNS) + "\n007,s,1,1,CT,,,2,T/a\n")
    assert {find_index(path) for path in (root, directory, directory / "index.csv")} == {directory / "index.csv"}
    (found,) = read_index(directory / "index.csv")
    assert (found.PatientID, found.instances) == ("007", 2)


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", ",".join(COLUMNS) + "\nP,s,1,1,CT,,,many,T\n", '"\x00'])
def test_what_is_no_index_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "index.csv"
    path.write_text(text)
    with pytest.raises(CrawlError, match="is no index: "):
        read_index(path)
