"""Which UID became which: the UIDMODS table of ConQuest."""

import time
from collections.abc import Callable

from sqlalchemy import bindparam, insert, select
from sqlalchemy.sql.sqltypes import NULLTYPE

from db.backend import bound
from db.engine import Database, Prepared, Session
from db.tables import LiveTables

_NO_STAGE = "(empty)"


class UidChanges:
    """The UID changes recorded in one database."""

    def __init__(self, database: Database, tables: LiveTables) -> None:
        self._database = database
        self._table = table = tables.uidmods
        names = {"MODTime": "time", "OldUID": "old", "MODType": "kind", "NewUID": "new", "Stage": "stage"}
        values = {table.own(column): bindparam(name, type_=NULLTYPE) for column, name in names.items()}
        where = [table.own(column) == bindparam(names[column], type_=NULLTYPE) for column in ("OldUID", "Stage")]
        self._find = Prepared(select(table.own("NewUID")).where(*where), database)
        self._insert = Prepared(insert(table.sql).values(values), database)

    def change(self, old: str, kind: str, stage: str, new_uid: Callable[[], str]) -> str:
        """Return the UID that replaces `old` in a stage; the first time it comes from `new_uid` and is recorded.

        ConQuest's kinds: the keyword of the element, ``StudyUID``, ``SeriesUID``, ``--changeuid``,
        ``percente``, ``lua``.
        """
        known = self._look_up("OldUID", old, "NewUID", stage)
        if known is not None:
            return known
        values: dict[str, object] = {"old": old, "kind": kind, "stage": stage or _NO_STAGE, "time": int(time.time())}

        def record(session: Session) -> str:
            for (new,) in session.rows(self._find, values):
                return str(new)  # another thread was faster
            values["new"] = new_uid()
            session.change(self._insert, values)
            return str(values["new"])

        return self._database.write(record)

    def original(self, new: str, stage: str) -> str | None:
        """Return the UID that `new` replaced in a stage."""
        return self._look_up("NewUID", new, "OldUID", stage)

    def _look_up(self, column: str, uid: str, wanted: str, stage: str) -> str | None:
        table = self._table
        statement = (
            select(table.own(wanted))
            .where(table.own(column) == bound(uid), table.own("Stage") == bound(stage or _NO_STAGE))
            .limit(1)
        )
        with self._database.reading() as connection:
            found = connection.execute(statement).scalar()
        return None if found is None else str(found)
