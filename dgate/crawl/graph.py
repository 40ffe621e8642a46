"""The series of an index as a forest: what was planned, drawn and measured on which images."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from dgate.crawl.destination import DEFAULT_OUTPUT
from dgate.crawl.errors import (
    CrawlError,
    DuplicateRowError,
    MissingDependencyModalityError,
    UnsupportedModalityError,
)
from dgate.crawl.output import COLUMNS, INDEX, IndexRow, slim

QUERIED = ("CT", "MR", "PT", "SEG", "RTSTRUCT", "RTDOSE")
_HANGS_FROM = {"RTSTRUCT": ("CT", "MR", "PT"), "RTDOSE": ("CT", "MR", "PT"), "SEG": ("CT", "MR")}
# These refer to other series where all is well.
REFERRING = ("SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "SR")
# The parent of these must be asked for as well.
_WITH_PARENT = ("SEG", "RTSTRUCT")
# A path longer than this runs in a circle: the references of a tree are data, and data may say anything.
DEEPEST = 64


@dataclass(eq=False, slots=True)
class Node:
    """A series, and the series that refer to it, in the order of the index; `rows` are all of the series."""

    row: IndexRow
    rows: list[IndexRow] = field(default_factory=list)
    children: list[Node] = field(default_factory=list)

    @property
    def modality(self) -> str:
        return self.row.Modality

    @property
    def files(self) -> str:
        """How many files it has, in words; with acquisitions the index may not have them all."""
        count = sum(row.instances for row in self.rows)
        return f"{count}{'+' if len(self.rows) > 1 else ''} file{'' if count == 1 else 's'}"


class Forest:
    """The trees of an index; of several rows of a series the last one counts, as in med-imagetools.

    Raises DuplicateRowError for rows that differ in nothing but their sub-series.
    """

    def __init__(self, rows: Sequence[IndexRow]) -> None:
        if len(slim(rows, all_subseries=False)) != len(rows):
            raise DuplicateRowError(
                "the index has rows that differ only in SubSeries: crawl again without --all-subseries"
            )
        self.nodes: dict[str, Node] = {}
        for row in rows:
            node = self.nodes.setdefault(row.SeriesInstanceUID, Node(row))
            node.row = row
            node.rows.append(row)
        self.roots: list[Node] = []
        for node in self.nodes.values():
            referenced = node.row.ReferencedSeriesUID
            if node.modality in ("CT", "MR") or (node.modality == "PT" and not referenced):
                self.roots.append(node)
            if referenced in self.nodes:
                self.nodes[referenced].children.append(node)

    def paths(self) -> Iterator[list[Node]]:
        """Yield every way from a root down, those that end early included."""
        pending = [[root] for root in reversed(self.roots)]
        while pending:
            path = pending.pop()
            yield path
            pending.extend([*path, child] for child in reversed(path[-1].children) if _goes_on(path, child))

    def apart(self) -> list[Node]:
        """The series that are in no tree."""
        inside = {id(path[-1]) for path in self.paths()}
        return [node for node in self.nodes.values() if id(node) not in inside]

    def query(self, modalities: Sequence[str], *, grouped: bool = True, same_path: bool = False) -> list[list[Node]]:
        """The series of these modalities that belong together; ``*`` or ``all`` alone: every tree, without plans.

        A result has all modalities that are asked for, beginning with an image series. They stand on one path of
        references, or, unless `same_path`, on any below one root. The parent of a SEG or RTSTRUCT must be asked
        for too. `grouped` joins the results of one root. Raises InterlacerQueryError for what cannot be asked.
        """
        if list(modalities) in (["*"], ["all"]):
            ends = (path for path in self.paths() if not path[-1].children)
            found = [[node for node in path if node.modality != "RTPLAN"] for path in ends]
        else:
            wanted = _checked(modalities)
            found = [
                [node for node in path if node.modality in wanted]
                for path in self.paths()
                if wanted <= {node.modality for node in path} and _parents_are_asked_for(path, wanted)
            ]
            if not same_path:
                found += self._below_one_root(wanted, found)
        found = _distinct(found)
        return _grouped(found) if grouped else found

    def _below_one_root(self, wanted: set[str], found: Sequence[Sequence[Node]]) -> Iterator[list[Node]]:
        """Series that are all there below one root, but on no path together, which `found` has."""
        done = {id(path[0]) for path in found}
        below: dict[int, list[Node]] = {}
        for path in self.paths():
            if path[-1].modality in wanted and _parents_are_asked_for(path, wanted):
                below.setdefault(id(path[0]), []).append(path[-1])
        for root in self.roots:
            nodes = below.get(id(root), [])
            if id(root) not in done and wanted <= {node.modality for node in nodes}:
                yield nodes


def _goes_on(path: Sequence[Node], child: Node) -> bool:
    return len(path) < DEEPEST and all(node is not child for node in path)


def _checked(modalities: Sequence[str]) -> set[str]:
    wanted = set(modalities)
    unknown = sorted(wanted - set(QUERIED))
    if unknown or not wanted:
        raise UnsupportedModalityError(
            f"{', '.join(unknown) or 'nothing'} cannot be asked for: {', '.join(QUERIED)} can"
        )
    for modality in sorted(wanted):
        parents = _HANGS_FROM.get(modality)
        if parents and not wanted & set(parents):
            raise MissingDependencyModalityError(f"{modality} needs {' or '.join(parents)} in the query")
    return wanted


def _parents_are_asked_for(path: Sequence[Node], wanted: set[str]) -> bool:
    return all(
        parent.modality in wanted
        for parent, node in pairwise(path)
        if node.modality in _WITH_PARENT and node.modality in wanted
    )


def _distinct(found: Iterable[list[Node]]) -> list[list[Node]]:
    return list({tuple(id(node) for node in nodes): nodes for nodes in found}.values())


def _grouped(found: Iterable[list[Node]]) -> list[list[Node]]:
    groups: dict[int, list[Node]] = {}
    for first, *others in found:
        group = groups.setdefault(id(first), [first])
        group.extend(node for node in others if all(node is not known for known in group))
    return list(groups.values())


def find_index(path: Path) -> Path:
    """The index.csv that is meant by its own path, by its directory or by the directory that was crawled.

    Raises CrawlError when there is none.
    """
    root = path.resolve()
    for candidate in (root, root / INDEX, root.parent / DEFAULT_OUTPUT / root.name / INDEX):
        if candidate.is_file():
            return candidate
    raise CrawlError(f"{path} has no {INDEX}: crawl it first, dgate crawl {path}")


def read_index(path: Path) -> list[IndexRow]:
    """Read an index.csv, ours or one of med-imagetools; every value stays the text it is.

    Raises CrawlError when it is none.
    """
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as source:
            reader = csv.DictReader(source)
            missing = set(COLUMNS) - set(reader.fieldnames or ())
            if missing:
                raise CrawlError(f"{path} is no index: it has no column {', '.join(sorted(missing))}")
            return [_row(values) for values in reader]
    except (csv.Error, ValueError) as error:
        raise CrawlError(f"{path} is no index: {error}") from error


def _row(values: Mapping[str, str | None]) -> IndexRow:
    texts = {name: values[name] or "" for name in COLUMNS}
    return IndexRow(**{**texts, "instances": int(texts["instances"])})  # type: ignore[arg-type]
