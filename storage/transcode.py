"""Whole objects brought into another transfer syntax or under a compression code; for codec processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from storage.codecs.derivation import SOP_CLASS, SOP_INSTANCE, Change, header_edits
from storage.codecs.forms import Form
from storage.codecs.frames import FrameReader
from storage.codecs.jpeg2000 import is_small, rate
from storage.codecs.jpegls import near
from storage.codecs.native import Element, convert, edited
from storage.codecs.source import NKI, NKI_DATA, StoredPixels, open_pixels
from storage.codecs.table import JPEG_2000, JPEG_LS_NEAR, Code, parse_code
from storage.codecs.target import Target, choose, choose_syntax, choose_without_image, refuse_overlay, uncompressed
from storage.codecs.writing import Selection, encapsulated, native, nki_data
from storage.elements import PIXEL_DATA
from storage.errors import NotConvertible
from storage.header import read_header
from storage.part10 import ObjectFile, file_meta, read_object_file
from storage.transfer import EXPLICIT_LITTLE, NATIVE

Edits = dict[int, Element | None]

# What the LossyQuality of dicom.ini is when it is not there.
QUALITY = 95


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to make of an object: `to` is a compression code, or the UID of a transfer syntax.

    A code chooses among the transfer syntaxes that are `accepted`, where those are given. `quality` counts where a code
    has none. Of `frames`, counted from 0, those are kept; whole rows and columns are left out until no side has more
    than `side` pixels. Where pixels lose anything the result gets the SOP instance UID `new_uid`, unless that is empty.
    `meta` False leaves out group 0002; None does so where ConQuest would (NKI).
    """

    to: str
    accepted: tuple[str, ...] | None = None
    quality: int = QUALITY
    frames: tuple[int, ...] | None = None
    side: int = 0
    new_uid: str = ""
    meta: bool | None = None

    @property
    def selects(self) -> bool:
        """Whether not all pixels are wanted."""
        return self.frames is not None or self.side > 0


@dataclass(frozen=True, slots=True)
class Transcoded:
    """What became of an object: its transfer syntax, SOP UIDs, and whether it is another than before.

    An object that was not `changed` is as it was, nothing was written, and `reason` says why. `lossy` tells that its
    pixels lost something now, `nki` that they are ConQuest's own compression, `bare` that it was written without group
    0002. `notes` are lines for the log.
    """

    transfer_syntax: str
    sop_class: str
    sop_instance: str
    changed: bool = True
    lossy: bool = False
    nki: bool = False
    bare: bool = False
    reason: str = ""
    notes: tuple[str, ...] = ()


def transcode(path: Path, wanted: Wanted, out: Path | BinaryIO) -> Transcoded:
    """Write a stored object in another form to `out`, frame by frame, or find out that it stays as it is.

    What a code does not fit stays; a transfer syntax that is insisted on raises NotConvertible instead. Raises
    CodecFailed for pixels that cannot be decoded or encoded, NotDicom, or OSError: what is in `out` then is of no use.
    """
    file = _named(read_object_file(path))
    code = None if wanted.to.startswith("1.") else parse_code(wanted.to)
    with ExitStack() as stack:
        try:
            work = _prepared(file, wanted, code, stack)
        except NotConvertible as error:
            if code is None:
                raise
            return Transcoded(file.transfer_syntax, file.sop_class, file.sop_instance, changed=False, reason=str(error))
        if isinstance(out, Path):
            out = stack.enter_context(out.open("wb"))
        return work.write(out)


def _prepared(file: ObjectFile, wanted: Wanted, code: Code | None, stack: ExitStack) -> _Plain | _Work:
    """Find out what is to be done; NotConvertible when it is nothing, or cannot be."""
    stored = _opened(file.path, stack)
    if isinstance(stored, StoredPixels) and max(stored.format.rows, stored.format.columns) <= wanted.side:
        wanted = replace(wanted, side=0)
    target = _target(file, stored, wanted, code)
    if not wanted.selects and (
        isinstance(stored, NotConvertible) or (target.is_plain and stored.transfer_syntax in NATIVE)
    ):
        if target.transfer_syntax == file.transfer_syntax and not target.bare:
            raise NotConvertible(f"it is {file.transfer_syntax} already")
        return _Plain(file, target, wanted)
    if isinstance(stored, NotConvertible):
        raise stored
    refuse_overlay(stored)
    form = stored.format
    numbers = range(form.frames) if wanted.frames is None else wanted.frames
    for number in numbers:
        if not 0 <= number < form.frames:
            raise NotConvertible(f"it has no frame {number}, but 0 to {form.frames - 1}")
    if not numbers:
        raise NotConvertible("no frame is asked for")
    side = wanted.side or target.side
    step = -(-max(form.rows, form.columns) // side) if side else 1
    selection = Selection(FrameReader(stored), numbers, step, target.factor, target.cutoff)
    quality = wanted.quality if code is None or code.quality is None else code.quality
    return _Work(file, stored, target, wanted, selection, min(100, max(1, quality)))


def _named(file: ObjectFile) -> ObjectFile:
    """The object with its SOP UIDs, which files without group 0002 have in their data set alone."""
    if file.sop_class and file.sop_instance:
        return file
    with file.path.open("rb") as source:
        source.seek(file.offset)
        header = read_header(source, file.transfer_syntax, ((SOP_CLASS,), (SOP_INSTANCE,)))
    return replace(file, sop_class=header.text(SOP_CLASS), sop_instance=header.text(SOP_INSTANCE))


def _opened(path: Path, stack: ExitStack) -> StoredPixels | NotConvertible:
    """The image of an object, or why it has none."""
    try:
        return stack.enter_context(open_pixels(path))
    except NotConvertible as error:
        return error


def _target(file: ObjectFile, stored: StoredPixels | NotConvertible, wanted: Wanted, code: Code | None) -> Target:
    if isinstance(stored, NotConvertible):
        if code is not None:
            return choose_without_image(code, file.transfer_syntax, wanted.accepted, stored)
        if wanted.to in NATIVE:
            return Target(wanted.to)
        raise stored
    if code is None:
        if wanted.to == file.transfer_syntax and stored.transfer_syntax != NKI and not wanted.selects:
            raise NotConvertible(f"it is {wanted.to} already")
        return choose_syntax(wanted.to, stored)
    if wanted.selects and code.keeps(stored.transfer_syntax):
        return uncompressed((EXPLICIT_LITTLE, *NATIVE), wanted.accepted)
    return choose(code, stored, wanted.accepted, anew=wanted.selects)


@dataclass(frozen=True, slots=True)
class _Plain:
    """An object whose pixels, if it has any, are only copied."""

    file: ObjectFile
    target: Target
    wanted: Wanted

    def write(self, out: BinaryIO) -> Transcoded:
        file, syntax = self.file, self.target.transfer_syntax
        bare = _is_bare(self.wanted, self.target)
        if not bare:
            out.write(file_meta(file.sop_class, file.sop_instance, syntax))
        for piece in self._pieces(syntax):
            out.write(piece)
        return Transcoded(syntax, file.sop_class, file.sop_instance, bare=bare)

    def _pieces(self, syntax: str) -> Iterator[bytes]:
        if self.file.transfer_syntax in NATIVE:
            yield from convert(self.file, syntax)
            return
        with self.file.path.open("rb") as source:
            source.seek(self.file.offset)
            yield from edited(source, self.file.transfer_syntax, syntax, {})


@dataclass(frozen=True, slots=True)
class _Work:
    """An object whose pixels are decoded and written anew."""

    file: ObjectFile
    stored: StoredPixels
    target: Target
    wanted: Wanted
    selection: Selection
    quality: int

    def write(self, out: BinaryIO) -> Transcoded:
        if self.target.row is not None:
            return self._encapsulated(self.target.row, out)
        form = self.selection.format
        if self.target.mode:
            pixels, mode = nki_data(self.selection, self.target.mode)
            notes = ("13 bits do not hold its values: NKI mode 4",) if mode != self.target.mode else ()
            edits = header_edits(self.stored, form, self._change())
            return self._written(out, edits | {PIXEL_DATA: None, NKI_DATA: pixels}, notes)
        edits = header_edits(self.stored, form, self._change())
        return self._written(out, edits | {PIXEL_DATA: native(self.selection)})

    def _encapsulated(self, row: Form, out: BinaryIO) -> Transcoded:
        form = self.selection.format
        with encapsulated(self.selection, row, self.quality) as encoded:
            ratio = form.native_bytes / encoded.size
            edits = header_edits(self.stored, row.header(form), self._change(row, ratio))
            return self._written(out, edits | {PIXEL_DATA: encoded.element})

    def _written(self, out: BinaryIO, edits: Edits, notes: tuple[str, ...] = ()) -> Transcoded:
        syntax = self.target.transfer_syntax
        sop_class = self.stored.text(SOP_CLASS) or self.file.sop_class
        sop_instance = (SOP_INSTANCE in edits and self.wanted.new_uid) or self._sop_instance
        bare = _is_bare(self.wanted, self.target)
        if not bare:
            out.write(file_meta(sop_class, sop_instance, syntax))
        with self.file.path.open("rb") as source:
            source.seek(self.file.offset)
            for piece in edited(source, self.file.transfer_syntax, syntax, edits):
                out.write(piece)
        return Transcoded(
            syntax,
            sop_class,
            sop_instance,
            lossy=self._loses,
            nki=self.target.mode > 0,
            bare=bare,
            notes=self.target.notes + notes,
        )

    @property
    def _sop_instance(self) -> str:
        return self.stored.text(SOP_INSTANCE) or self.file.sop_instance

    @property
    def _compresses_lossy(self) -> bool:
        row = self.target.row
        small = row is not None and row.transfer_syntax == JPEG_2000 and is_small(self.selection.format)
        return row is not None and row.lossy and not small

    @property
    def _loses(self) -> bool:
        return self._compresses_lossy or self.target.factor > 0 or self.selection.step > 1

    def _change(self, row: Form | None = None, ratio: float = 0) -> Change:
        selection, target = self.selection, self.target
        lossy = self._compresses_lossy
        texts = []
        if selection.step > 1:
            texts.append(f"every {selection.step}. pixel of rows and columns")
        if target.factor:
            texts.append(f"values below {target.cutoff} made 0, others divided by {target.factor}")
        if len(selection.numbers) < self.stored.format.frames:
            texts.append(f"{len(selection.numbers)} of {self.stored.format.frames} frames")
        if lossy and row is not None:
            texts.append(f"{row.text}, {_degree(row, self.quality)}")
        return Change(
            "; ".join(texts),
            ratio if lossy or target.factor else 0,
            row.method if lossy and row is not None else "",
            lossy=lossy or target.factor > 0,
            values_changed=self._loses,
            spacing=selection.step,
            new_uid=self.wanted.new_uid,
        )


def _degree(row: Form, quality: int) -> str:
    """How much is lost, in the terms of the method."""
    if row.transfer_syntax == JPEG_2000:
        return f"rate {rate(quality)}"
    if row.transfer_syntax == JPEG_LS_NEAR:
        return f"largest error {near(quality)}"
    return f"quality {quality}"


def _is_bare(wanted: Wanted, target: Target) -> bool:
    return target.bare if wanted.meta is None else not wanted.meta
