"""Giving the row of an object another file: the same object in another form."""

from collections.abc import Mapping

from sqlalchemy import bindparam, func, literal_column, update
from sqlalchemy.sql.sqltypes import NULLTYPE

from db.backend import Column as SqlColumn
from db.engine import Database, Prepared, Session
from db.objects import Location
from db.schema import TagPath
from db.settings import DbSettings
from db.tables import LiveTables
from db.values import RowMaker

_IMAGE_TYPE = (0x00080008,)


class Switcher:
    """Switches rows of one database; its statement is compiled once."""

    def __init__(self, database: Database, tables: LiveTables, settings: DbSettings) -> None:
        images = tables["IMAGE"]
        self._backend = backend = database.backend
        self._maker = RowMaker(images.definition, settings)
        # What tells of pixels; everything else of an object is as it was, or has been put right in its row.
        self._told = [
            number
            for number, column in enumerate(images.definition.columns)
            if column.path == _IMAGE_TYPE or (len(column.path) == 1 and column.path[0] >> 16 == 0x0028)
        ]
        values: dict[SqlColumn, SqlColumn] = {
            images.column(images.definition.columns[number]): backend.text_parameter(f"c{number}")
            for number in self._told
        }
        values[images.own("DeviceName")] = backend.text_parameter("new_device")
        values[images.own("ObjectFile")] = backend.text_parameter("new_file")
        nothing: SqlColumn = literal_column("''")
        here = (
            images.key == bindparam("sop", type_=NULLTYPE),
            func.coalesce(images.own("DeviceName"), nothing) == bindparam("device", type_=NULLTYPE),
            backend.key_parameter(func.coalesce(images.own("ObjectFile"), nothing)),
        )
        self._update = Prepared(update(images.sql).where(*here).values(values), database)

    def switch(
        self, session: Session, sop_instance: str, values: Mapping[TagPath, str], old: Location, new: Location
    ) -> bool:
        """Let the row of an object name `new` and tell of its pixels; False when it does not name `old` any more."""
        cells = self._maker.row({path: value.strip(" ") for path, value in values.items()}, new.file, [])
        stored = {f"c{number}": self._backend.stored(cells[number]) for number in self._told}
        place = {"new_device": self._backend.stored(new.device), "new_file": self._backend.stored(new.file)}
        row = {"sop": sop_instance, "device": old.device, **self._backend.key_values(old.file)}
        return bool(session.change(self._update, {**stored, **place, **row}))
