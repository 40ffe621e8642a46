"""The rows of images whose series has said the same before: made and entered many at a time."""

from operator import itemgetter
from typing import Any

from db.fields import Fields, Values
from db.rows import Level
from db.schema import SERIES_UID, SOP_INSTANCE
from db.tables import LiveTable
from db.values import each_part_stripped

Row = tuple[Any, ...]


class ImageRows:
    """Makes what `insert` takes, which enters an image unless there is one of its key.

    `insert` is None where keys are not kept unique, `key` the place of the SOP instance UID in a row, `series` that of
    the series UID in what is said above the image, `linked` the places of the table's columns that repeat some of that.
    An image needs no second look when all of its values are plain and short enough, as nearly all are.
    """

    def __init__(self, live: LiveTable, fields: Fields, level: Level) -> None:
        columns = live.definition.columns
        own = {path: place for place, path in enumerate(fields.own)}
        self.linked = tuple(place for place, column in enumerate(columns) if column.path not in own)
        self.insert = level.insert_new
        sources = [f"own {place}" for place in range(len(own))]
        sources += [*(level.names[place] for place in self.linked), "access_time", "device", "file"]
        at = {name: place for place, name in enumerate(sources)}
        at |= {name: own[column.path] for name, column in zip(level.names, columns, strict=True) if column.path in own}
        names = level.insert_new.names if level.insert_new is not None else level.names
        self._ordered = itemgetter(*(at[name] for name in names))
        self._fits = tuple(min(column.length for column in columns if column.path == path) for path in fields.own)
        self._of_parts = tuple(
            own[column.path] for column in columns if column.path in own and column.dicom_type == "DT_MSTR"
        )
        self._uid = own[SOP_INSTANCE]
        self.key = names.index(level.names[0])
        self.series = fields.above.index(SERIES_UID)

    def row(self, own: Values, linked: Values, now: int, device: str, file: str) -> Row | None:
        """What enters an image with these values of its own; None when somebody has to look at them."""
        text = "".join([value for value in own if value])
        if not text.isascii() or "\0" in text or not file.isascii() or not device.isascii():
            return None
        if " " in text:
            own = self._stripped(own)
        for value, most in zip(own, self._fits, strict=True):
            if value is not None and len(value) > most:
                return None
        if not own[self._uid]:
            return None
        row: Row = self._ordered((*own, *linked, now, device, file))
        return row

    def _stripped(self, own: Values) -> Values:
        values = [value and value.strip(" ") for value in own]
        for place in self._of_parts:
            value = values[place]
            values[place] = value and each_part_stripped(value)
        return tuple(values)
