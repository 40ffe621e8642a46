"""How far the rows that were handed over have come, noted in the transaction that enters them, in dgate_handed."""

import time
from collections.abc import Sequence

from sqlalchemy import bindparam, column, delete, insert, select, update
from sqlalchemy import table as sql_table
from sqlalchemy.sql.sqltypes import NULLTYPE

from db.engine import Database, Prepared, Session

HANDED = "dgate_handed"
_COLUMNS = "run varchar(32) NOT NULL PRIMARY KEY, ends text NOT NULL, at bigint NOT NULL"
# A run that has entered nothing for so long has ended.
_KEPT_S = 30 * 86400


class Progress:
    """Says which rows of a run are committed already when the one who committed them was killed right behind it."""

    def __init__(self, database: Database, run: str) -> None:
        self._run = run
        # Whether a transaction with the table in it was committed.
        self.there = False
        names = ("run", "ends", "at")
        columns = {name: column(name, NULLTYPE) for name in names}
        values = {columns[name]: bindparam(name, type_=NULLTYPE) for name in names}
        table = sql_table(HANDED, *columns.values())
        of_run = columns["run"] == bindparam("run", type_=NULLTYPE)
        self._select = Prepared(select(columns["ends"]).where(of_run), database)
        self._insert = Prepared(insert(table).values(values), database)
        said = {columns[name]: values[columns[name]] for name in ("ends", "at")}
        self._update = Prepared(update(table).where(of_run).values(said), database)
        self._delete = Prepared(delete(table).where(columns["at"] < bindparam("before", type_=NULLTYPE)), database)

    def read(self, session: Session, count: int) -> list[int]:
        """The positions up to which each ring is committed."""
        if not self.there:
            session.execute(f"CREATE TABLE IF NOT EXISTS {HANDED} ({_COLUMNS})")
        rows = session.rows(self._select, {"run": self._run})
        return [int(end) for end in rows[0][0].split(",")] if rows else [0] * count

    def write(self, session: Session, ends: Sequence[int]) -> None:
        """Note them in the same transaction as the rows."""
        now = int(time.time())
        values = {"run": self._run, "ends": ",".join(map(str, ends)), "at": now}
        if not session.change(self._update, values):
            session.change(self._delete, {"before": now - _KEPT_S})
            session.change(self._insert, values)
