"""How the frames of an object are to look: what its header says of values, windows, tables and the shape of pixels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from storage.elements import Cursor, open_data
from storage.errors import NotRendered
from storage.header import Header, TagPath, in_item, read_header, vr_of
from storage.part10 import ObjectFile
from storage.render.colour import Palette
from storage.render.lookup import Descriptor, LookupTable, plain_table, segmented_table
from storage.render.view import Window
from storage.transfer import is_little_endian
from storage.traversal import Kind, steps

_PHOTOMETRIC = (0x00280004,)
_FRAMES = (0x00280008,)
_SIGNED = (0x00280103,)
_ASPECT = (0x00280034,)
_PADDING, _PADDING_LIMIT = (0x00280120,), (0x00280121,)
_SHAPE = (0x20500020,)
_DOSE_SCALING = (0x3004000E,)
_FRAME_TIME, _CINE_RATE, _DISPLAY_RATE = (0x00181063,), (0x00180040,), (0x00082144,)

_INTERCEPT, _SLOPE = 0x00281052, 0x00281053
_CENTER, _WIDTH, _FUNCTION = 0x00281050, 0x00281051, 0x00281056
_SPACING = 0x00280030

# Where a multi-frame object of the enhanced kind has these (PS3.3 C.7.6.16), and where older ones do.
_SHARED, _PER_FRAME = 0x52009229, 0x52009230
_GROUPS = {
    _INTERCEPT: 0x00289145,
    _SLOPE: 0x00289145,
    _CENTER: 0x00289132,
    _WIDTH: 0x00289132,
    _FUNCTION: 0x00289132,
    _SPACING: 0x00289110,
}

_MODALITY_LUT, _VOI_LUT = 0x00283000, 0x00283010
_LUT_DESCRIPTOR, _LUT_DATA = 0x00283002, 0x00283006
_PALETTE_DESCRIPTORS = (0x00281101, 0x00281102, 0x00281103)
_PALETTES = (0x00281201, 0x00281202, 0x00281203)
_SEGMENTED_PALETTES = (0x00281221, 0x00281222, 0x00281223)
# 65536 entries of two bytes; a segmented table that is longer than a plain one misses its purpose.
_LONGEST_TABLE = 2 * 65536 + 2
_LAST_TABLE = _VOI_LUT

_WANTED: frozenset[TagPath] = frozenset(
    {
        _PHOTOMETRIC, _FRAMES, _SIGNED, _ASPECT, _PADDING, _PADDING_LIMIT, _SHAPE, _DOSE_SCALING,
        _FRAME_TIME, _CINE_RATE, _DISPLAY_RATE,
        (_MODALITY_LUT, _LUT_DESCRIPTOR), (_VOI_LUT, _LUT_DESCRIPTOR),
    }
    | {(tag,) for tag in _GROUPS}
    | {(_SHARED, group, tag) for tag, group in _GROUPS.items()}
)  # fmt: skip

_DEFAULT_DELAY_MS = 100
_LONGEST_DELAY_MS = 10_000
# Distances between pixels that differ by more are a mistake, not a shape.
_LONGEST_PIXEL = 32.0
_LARGEST = 1e30


@dataclass(frozen=True, slots=True)
class Rescale:
    """Rescale Slope and Intercept: modality value = stored value * slope + intercept."""

    slope: float = 1.0
    intercept: float = 0.0


@dataclass(frozen=True, slots=True)
class FrameLook:
    """What may differ from frame to frame; no `window` where the object has none."""

    rescale: Rescale = Rescale()
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """How an object is to look. `aspect` is the height of a pixel over its width, `delay_ms` the time of a frame.

    `every` holds for the frames that are not in `single`. `padding` is the range of stored values that are no image.
    """

    inverted: bool = False
    every: FrameLook = FrameLook()
    single: Mapping[int, FrameLook] = field(default_factory=dict)
    modality: LookupTable | None = None
    voi: LookupTable | None = None
    palette: Palette | None = None
    padding: tuple[int, int] | None = None
    aspect: float = 1.0
    delay_ms: int = _DEFAULT_DELAY_MS

    def of(self, frame: int) -> FrameLook:
        """What holds for a frame, counted from 0."""
        return self.single.get(frame, self.every)


def read_look(file: ObjectFile, frames: Collection[int] = ()) -> Look:
    """Read how an object is to look; what differs between frames is read for `frames`, counted from 0.

    Raises NotDicom, NotRendered for tables that cannot be, or OSError.
    """
    perhaps = {frame: _own_paths(frame) for frame in frames}
    wanted = _WANTED.union(*(paths.values() for paths in perhaps.values()))
    with file.path.open("rb") as source:
        source.seek(file.offset)
        header = read_header(source, file.transfer_syntax, wanted)
        photometric = header.text(*_PHOTOMETRIC)
        signed = header.text(*_SIGNED) == "1"
        tables = _Tables(signed)
        if photometric == "PALETTE COLOR" or any(
            (tag, _LUT_DESCRIPTOR) in header.values for tag in (_MODALITY_LUT, _VOI_LUT)
        ):
            source.seek(file.offset)
            tables.read(source, file.transfer_syntax)
    paths = {tag: (tag,) for tag in _GROUPS}
    shared = {tag: (_SHARED, group, tag) for tag, group in _GROUPS.items()}
    return Look(
        inverted=photometric == "MONOCHROME1" or header.text(*_SHAPE) == "INVERSE",
        every=_frame_look(header, (shared, paths)),
        single={frame: _frame_look(header, (own, shared, paths)) for frame, own in perhaps.items()},
        modality=tables.of_sequence(_MODALITY_LUT),
        voi=tables.of_sequence(_VOI_LUT),
        palette=tables.palette() if photometric == "PALETTE COLOR" else None,
        padding=_padding(header, signed),
        aspect=_aspect(header, (shared, paths)),
        delay_ms=_delay(header),
    )


def _own_paths(frame: int) -> dict[int, TagPath]:
    return {tag: (in_item(_PER_FRAME, frame), group, tag) for tag, group in _GROUPS.items()}


Places = tuple[Mapping[int, TagPath], ...]


def _numbers(header: Header, path: TagPath) -> list[float]:
    """The numbers of a value, none at all when one of them is none, or larger than anything that is measured."""
    try:
        numbers = [float(text) for text in header.text(*path).split("\\") if text.strip()]
    except ValueError:
        return []
    return numbers if all(abs(number) <= _LARGEST for number in numbers) else []


def _first(header: Header, places: Places, tag: int) -> float | None:
    for place in places:
        if numbers := _numbers(header, place[tag]):
            return numbers[0]
    return None


def _frame_look(header: Header, places: Places) -> FrameLook:
    slope, intercept = _first(header, places, _SLOPE), _first(header, places, _INTERCEPT)
    # A slope of 0 would make one value of all.
    rescale = Rescale(slope or 1.0, intercept or 0.0)
    if scaling := _numbers(header, _DOSE_SCALING):
        rescale = Rescale(scaling[0] or 1.0)
    for place in places:
        center, width = _numbers(header, place[_CENTER]), _numbers(header, place[_WIDTH])
        if center and width:
            function = header.text(*place[_FUNCTION]).strip().upper()
            return FrameLook(rescale, Window.usable(center[0], width[0], function))
    return FrameLook(rescale)


def _padding(header: Header, signed: bool) -> tuple[int, int] | None:
    values = []
    for path in (_PADDING, _PADDING_LIMIT):
        for number in _numbers(header, path)[:1]:
            # Without VR the value was read as unsigned.
            values.append(int(number) - 0x10000 if signed and number >= 0x8000 else int(number))
    return (min(values), max(values)) if values else None


def _aspect(header: Header, places: Places) -> float:
    pairs = [_numbers(header, _ASPECT), *(_numbers(header, place[_SPACING]) for place in places)]
    for pair in pairs:
        if len(pair) == 2 and min(pair) > 0:
            aspect = pair[0] / pair[1]
            return aspect if 1 / _LONGEST_PIXEL <= aspect <= _LONGEST_PIXEL else 1.0
    return 1.0


def _delay(header: Header) -> int:
    for path, of_rate in ((_FRAME_TIME, False), (_DISPLAY_RATE, True), (_CINE_RATE, True)):
        for number in _numbers(header, path)[:1]:
            if number > 0:
                delay = 1000 / number if of_rate else number
                # A GIF counts hundredths of a second, and browsers take 0 and 1 of them for 10.
                return min(max(20, round(delay)), _LONGEST_DELAY_MS)
    return _DEFAULT_DELAY_MS


class _Tables:
    """The lookup tables of a header, whose values are longer than header values may be."""

    def __init__(self, signed: bool) -> None:
        self._signed = signed
        self._little_endian = True
        # By the sequence they are in (0: none) and their tag; of sequences, the first item.
        self._raw: dict[tuple[int, int], tuple[bytes, bytes]] = {}

    def read(self, source: BinaryIO, transfer_syntax: str) -> None:
        """Read every table of the data set that `source` stands at."""
        self._little_endian = is_little_endian(transfer_syntax)
        cursor = Cursor(open_data(source, transfer_syntax), transfer_syntax)
        sequence = number = 0
        for step in steps(cursor, vr_of):
            if step.depth == 0:
                if step.tag > _LAST_TABLE:
                    return
                sequence = step.tag if step.kind is Kind.SEQUENCE else 0
            elif step.kind is Kind.ITEM and step.depth == 1:
                number = step.number
            wanted = step.depth == 0 or (step.depth == 1 and number == 0 and sequence in (_MODALITY_LUT, _VOI_LUT))
            if step.kind is Kind.VALUE and wanted and step.tag >> 16 == 0x0028 and step.length <= _LONGEST_TABLE:
                self._raw.setdefault((sequence, step.tag), (step.written, cursor.value(step.length)))

    def of_sequence(self, sequence: int) -> LookupTable | None:
        """The table in the first item of a sequence."""
        if (sequence, _LUT_DESCRIPTOR) not in self._raw or (sequence, _LUT_DATA) not in self._raw:
            return None
        _, data = self._raw[sequence, _LUT_DATA]
        return plain_table(self._descriptor(sequence, _LUT_DESCRIPTOR), data, little_endian=self._little_endian)

    def palette(self) -> Palette:
        """The three tables of PALETTE COLOR; raises NotRendered when one is missing."""
        red, green, blue = (
            self._channel(*tags) for tags in zip(_PALETTE_DESCRIPTORS, _PALETTES, _SEGMENTED_PALETTES, strict=True)
        )
        return red, green, blue

    def _channel(self, descriptor: int, plain: int, segmented: int) -> LookupTable:
        for tag, make in ((plain, plain_table), (segmented, segmented_table)):
            _, data = self._raw.get((0, tag), (b"", b""))
            if data and (0, descriptor) in self._raw:
                return make(self._descriptor(0, descriptor), data, little_endian=self._little_endian)
        raise NotRendered("its pixels are PALETTE COLOR and a palette is missing")

    def _descriptor(self, sequence: int, tag: int) -> Descriptor:
        written, raw = self._raw[sequence, tag]
        # Where the VR is written it says whether the first value mapped is signed, whatever the pixels are.
        signed = self._signed or written == b"SS"
        return Descriptor.read(raw, little_endian=self._little_endian, signed=signed)
