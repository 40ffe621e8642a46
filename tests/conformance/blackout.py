"""A power cut at any moment: what a recorded program had on the disk by then, and what it had told its peers.

`recorder.c` writes the record. The disk of this model keeps what was synced and nothing else: of what was not, each
write, truncation and change of a name may be there, wholly or in part, or not. On a disk that is `covering` the first
sync of a new file keeps, besides its bytes, the name it was made with, or has in that same directory by then; that of
a file which was opened without a name does so when its first one is in the directory it was opened in, and there by
then.
"""

from __future__ import annotations

import os
import random
import struct
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).with_name("recorder.c")
_HEAD = struct.Struct("=IIQQIIII")
_SECTOR = 512


def build_recorder(directory: Path, compiler: str) -> Path:
    """Compile the library to be preloaded; raises CalledProcessError."""
    library = directory / "recorder.so"
    flags = ("-O1", "-shared", "-fPIC", "-Wall", "-Werror", "-D_GNU_SOURCE")
    subprocess.run([compiler, *flags, "-o", library, SOURCE, "-ldl"], check=True)
    return library


def recording(library: Path, root: Path, log: Path) -> dict[str, str]:
    """The environment in which a program is recorded."""
    return {"LD_PRELOAD": str(library), "RECORDER_ROOT": str(root), "RECORDER_LOG": str(log)}


@dataclass(frozen=True)
class Event:
    """One record. The kinds, and what else counts:

    C a file came into being (inode, path; without a name: other, the directory it was opened in), D a directory did,
    L a file got another name, R it was renamed (path, other), U a name went (path), W bytes were written (inode,
    offset, data), Z a file was cut or extended to `offset`, T it got the time `offset`, B and E a sync began and ended
    (inode, thread), A something was sent on a socket (data).
    """

    kind: str
    thread: int
    inode: int
    offset: int
    path: str
    other: str
    data: bytes


def events(log: Path) -> Iterator[Event]:
    raw = log.read_bytes()
    at = 0
    while at < len(raw):
        kind, thread, inode, offset, path, other, data, _ = _HEAD.unpack_from(raw, at)
        at += _HEAD.size
        texts = []
        for length in (path, other):
            texts.append(os.fsdecode(raw[at : at + length]))
            at += length
        yield Event(chr(kind), thread, inode, offset, *texts, raw[at : at + data])
        at += data


Change = tuple[int, Event]


@dataclass
class File:
    """A file: what is durable of it, and the changes that are not."""

    data: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)
    time_ns: int = 0

    def settle(self, before: int) -> None:
        for number, event in self.pending:
            if number < before:
                _apply(self.data, event, event.data)
        self.pending = [change for change in self.pending if change[0] >= before]


@dataclass
class Directory:
    """A directory: the names in it that are durable, and the changes that are not (None: the name went)."""

    names: dict[str, Node] = field(default_factory=dict)
    pending: list[tuple[int, dict[str, Node | None]]] = field(default_factory=list)
    now: dict[str, Node] = field(default_factory=dict)

    def settle_name(self, node: Node, before: int) -> None:
        """Keep what a file is called here, and nothing else."""
        for number, changes in self.pending:
            if number < before and any(named is node for named in changes.values()):
                _rename(self.names, changes)
        self.pending = [
            (number, changes)
            for number, changes in self.pending
            if number >= before or all(named is not node for named in changes.values())
        ]

    def change(self, number: int, changes: dict[str, Node | None]) -> None:
        self.pending.append((number, changes))
        _rename(self.now, changes)

    def settle(self, before: int) -> None:
        for number, changes in self.pending:
            if number < before:
                _rename(self.names, changes)
        self.pending = [change for change in self.pending if change[0] >= before]


Node = File | Directory


class Disk:
    """What would be there after a power cut, event by event."""

    def __init__(self, root: Path, before: Path, inodes: Mapping[Path, int], *, covering: bool) -> None:
        """Take what is in `before`, a copy of `root` from when the program was started, as durable.

        `inodes` are those of the originals then, by which they are told.
        """
        self._root = root
        self._covering = covering
        # New files, and where each was made.
        self._made_in: dict[int, Directory] = {}
        # New files that have had no name yet, and where each was opened.
        self._opened_in: dict[int, Node] = {}
        self._by_inode: dict[int, Node] = {}
        self._begun: dict[tuple[int, int], int] = {}
        self.tree = self._taken(before, root, inodes)

    def _taken(self, copy: Path, original: Path, inodes: Mapping[Path, int]) -> Directory:
        taken = Directory()
        for entry in copy.iterdir():
            named = original / entry.name
            node: Node
            if entry.is_dir():
                node = self._taken(entry, named, inodes)
            else:
                node = File(bytearray(entry.read_bytes()), time_ns=entry.stat().st_mtime_ns)
            self._by_inode[inodes[named]] = node
            taken.names[entry.name] = taken.now[entry.name] = node
        self._by_inode[inodes[original]] = taken
        return taken

    def happen(self, number: int, event: Event) -> None:
        """Let one event of the record happen."""
        if event.kind in "CD":
            node: Node = File() if event.kind == "C" else Directory()
            self._by_inode[event.inode] = node
            self._made_in.pop(event.inode, None)
            self._opened_in.pop(event.inode, None)
            if not event.path:
                self._opened_in[event.inode] = self._at(event.other)
            else:
                self._name(number, event.path, node)
                if event.kind == "C":
                    self._made_in[event.inode] = self._parent(event.path)[0]
        elif event.kind == "L":
            self._name(number, event.path, self._by_inode[event.inode])
            directory = self._parent(event.path)[0]
            if self._opened_in.pop(event.inode, None) is directory:
                self._made_in[event.inode] = directory
        elif event.kind == "U":
            self._name(number, event.path, None)
        elif event.kind == "R":
            self._renamed(number, event)
        elif event.kind == "B":
            self._begun[event.thread, event.inode] = number
        elif event.kind == "E":
            self._synced(event.inode, self._begun[event.thread, event.inode])
        elif event.kind == "T":
            _file(self._by_inode[event.inode]).time_ns = event.offset
        elif event.kind in "WZ":
            _file(self._by_inode[event.inode]).pending.append((number, event))

    def _synced(self, inode: int, before: int) -> None:
        node = self._by_inode[inode]
        node.settle(before)
        made_in = self._made_in.pop(inode, None)
        if self._covering and made_in is not None:
            made_in.settle_name(node, before)

    def _parent(self, path: str) -> tuple[Directory, str]:
        *parts, name = Path(path).relative_to(self._root).parts
        here = self.tree
        for part in parts:
            inner = here.now[part]
            assert isinstance(inner, Directory)
            here = inner
        return here, name

    def _at(self, path: str) -> Node:
        if Path(path) == self._root:
            return self.tree
        directory, name = self._parent(path)
        return directory.now[name]

    def _name(self, number: int, path: str, node: Node | None) -> None:
        directory, name = self._parent(path)
        directory.change(number, {name: node})

    def _renamed(self, number: int, event: Event) -> None:
        old, name = self._parent(event.path)
        new, other = self._parent(event.other)
        node = old.now[name]
        if old is new:
            old.change(number, {name: None, other: node})
        else:
            new.change(number, {other: node})
            old.change(number, {name: None})

    def write(self, directory: Path, chance: random.Random | None) -> None:
        """Make below a directory what is left after a power cut now: with `chance` some of what was not synced too."""
        _written(self.tree, directory, chance, {})


def _file(node: Node) -> File:
    assert isinstance(node, File)
    return node


def _rename(names: dict[str, Node], changes: Mapping[str, Node | None]) -> None:
    for name, node in changes.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _apply(data: bytearray, event: Event, piece: bytes) -> None:
    if event.kind == "Z":
        del data[event.offset :]
        data.extend(bytes(event.offset - len(data)))
        return
    data.extend(bytes(max(0, event.offset - len(data))))
    data[event.offset : event.offset + len(piece)] = piece


def _written(node: Directory, path: Path, chance: random.Random | None, made: dict[int, Path]) -> None:
    names = dict(node.names)
    for _, changes in node.pending:
        if chance is not None and chance.random() < 0.5:
            _rename(names, changes)
    path.mkdir(parents=True, exist_ok=True)
    for name, inner in names.items():
        if isinstance(inner, Directory):
            _written(inner, path / name, chance, made)
        elif id(inner) in made:
            os.link(made[id(inner)], path / name)
        else:
            made[id(inner)] = path / name
            (path / name).write_bytes(_left(inner, chance))
            if inner.time_ns:
                os.utime(path / name, ns=(inner.time_ns, inner.time_ns))


def _left(file: File, chance: random.Random | None) -> bytes:
    data = bytearray(file.data)
    for _, event in file.pending:
        if chance is None or (drawn := chance.random()) < 0.4:
            continue
        piece = event.data
        if event.kind == "W" and drawn < 0.7:
            kept = chance.randrange(0, len(piece) // _SECTOR + 1) * _SECTOR
            # Room on the disk, but not yet the bytes.
            piece = piece[:kept] + (bytes(len(piece) - kept) if event.offset + kept >= len(data) else b"")
        _apply(data, event, piece)
    return bytes(data)
