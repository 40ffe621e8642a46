"""The index for people: the patients with their series as a tree of text."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from dgate.crawl.graph import DEEPEST, REFERRING, Forest, Node

_TAIL = 8


def printable(text: str) -> str:
    """Text of an object or a file name as it can go to a terminal: without control characters."""
    return "".join("?" if unicodedata.category(sign) in ("Cc", "Cf", "Cs") else sign for sign in text)


def label(node: Node) -> str:
    """A series in a few words: ``CT (Series-9999.1.2)``, with the last 8 characters of the UID."""
    return f"{node.modality} (Series-{node.row.SeriesInstanceUID[-_TAIL:]})"


def by_patient(nodes: Sequence[Node]) -> dict[str, list[Node]]:
    """Series by patient ID, sorted by that."""
    found: dict[str, list[Node]] = {}
    for node in nodes:
        found.setdefault(node.row.PatientID, []).append(node)
    return dict(sorted(found.items()))


def tree(forest: Forest) -> Iterator[str]:
    """Yield the lines of the table: a tree for each patient, then what hangs from nothing."""
    patients, alone = by_patient(forest.roots), by_patient(forest.apart())
    yield "Patients"
    names = sorted({*patients, *alone})
    for name in names:
        last = name == names[-1]
        yield f"{'└' if last else '├'}── {printable(name) or '(no patient ID)'}"
        members = [*patients.get(name, ()), *alone.get(name, ())]
        apart = {id(node) for node in alone.get(name, ())}
        yield from _branches(members, "    " if last else "│   ", apart, ())


def _branches(nodes: Sequence[Node], indent: str, apart: set[int], above: tuple[int, ...]) -> Iterator[str]:
    nodes = [node for node in nodes if id(node) not in above and len(above) < DEEPEST]
    for number, node in enumerate(nodes):
        last = number == len(nodes) - 1
        head = f"{indent}{'└' if last else '├'}── {printable(label(node))}"
        folder = printable(node.row.folder)
        yield f"{head:<56} {node.files:<12} {folder}{_why(node) if id(node) in apart else ''}"
        if id(node) not in apart:
            yield from _branches(node.children, indent + ("    " if last else "│   "), apart, (*above, id(node)))


def _why(node: Node) -> str:
    referenced = node.row.ReferencedSeriesUID
    if not referenced:
        return "  [refers to nothing]" if node.modality in REFERRING else ""
    known = ", ".join(f"...{uid[-_TAIL:]}" for uid in referenced.split(";"))
    return f"  [refers to {printable(node.row.ReferencedModality or 'what is not here')}: {printable(known)}]"
