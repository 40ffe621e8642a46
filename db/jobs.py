"""Jobs and their states, in dgate_jobs: what is slow is asked for once and done, whatever happens to the server."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, bindparam, column, delete, func, insert, inspect, literal_column, select, update
from sqlalchemy import table as sql_table
from sqlalchemy.sql.sqltypes import NULLTYPE

from db.engine import Database, Prepared, Session

JOBS = "dgate_jobs"
QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
# Jobs that have ended are kept this long, counted in jobs.
_KEPT = 1000

_NAMES = ("id", "kind", "arguments", "state", "done", "total", "message", "created", "started", "ended", "cancel")
_DEFINITIONS = (
    "id bigint PRIMARY KEY not null, kind varchar(32) NOT NULL, arguments text NOT NULL, state varchar(16) NOT NULL, "
    "done bigint NOT NULL, total bigint NOT NULL, message text NOT NULL, created bigint NOT NULL, "
    "started bigint NOT NULL, ended bigint NOT NULL, cancel int NOT NULL"
)


@dataclass(frozen=True, slots=True)
class Job:
    """One job. `arguments` are its kind's own, `done` of `total` is how far it is, `message` how it ended or why not.

    Times are seconds since 1970, 0 when that has not happened. `cancel`: it is to end as soon as it can.
    """

    id: int
    kind: str
    arguments: Mapping[str, str]
    state: str
    done: int
    total: int
    message: str
    created: int
    started: int
    ended: int
    cancel: bool


class Jobs:
    """The jobs of one database; the table comes with the first of them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._there = False
        names = {name: column(name, NULLTYPE) for name in _NAMES}
        table = sql_table(JOBS, *names.values())
        self._rows = select(*names.values())
        self._id, self._kind, self._state = names["id"], names["kind"], names["state"]
        given = {name: bindparam(f"new_{name}", type_=NULLTYPE) for name in _NAMES}
        is_it = self._id == given["id"]
        # Written into the statements: what is prepared has no other values than those it is run with.
        queued: ColumnElement[Any] = literal_column(f"'{QUEUED}'")
        running: ColumnElement[Any] = literal_column(f"'{RUNNING}'")
        is_open = self._state.in_([queued, running])
        self._last = Prepared(select(func.max(self._id)), database)
        self._insert = Prepared(insert(table).values({names[name]: given[name] for name in _NAMES}), database)
        self._prune = Prepared(delete(table).where(self._id <= given["id"], ~is_open), database)
        self._next = Prepared(
            self._rows.where(self._state == queued, self._kind == given["kind"]).order_by(self._id),
            database,
            " LIMIT 1",
        )
        self._start = Prepared(
            update(table).where(is_it).values(state=given["state"], started=given["started"]), database
        )
        self._advance = Prepared(update(table).where(is_it).values(done=given["done"], total=given["total"]), database)
        self._end = Prepared(
            update(table)
            .where(is_it, is_open)
            .values(state=given["state"], message=given["message"], ended=given["ended"]),
            database,
        )
        self._ask_to_end = Prepared(update(table).where(is_it, is_open).values(cancel=given["cancel"]), database)
        self._again = Prepared(
            update(table).where(self._state == running, self._kind == given["kind"]).values(state=given["state"]),
            database,
        )

    def add(self, kind: str, arguments: Mapping[str, str]) -> int:
        """Queue a job and return its number; jobs that ended long ago are forgotten."""

        def enter(session: Session) -> int:
            if not self._there:
                session.execute(f"CREATE TABLE IF NOT EXISTS {JOBS} ({_DEFINITIONS})")
            ((last,),) = session.rows(self._last, {})
            number = int(last or 0) + 1
            new = Job(number, kind, {}, QUEUED, 0, 0, "", int(time.time()), 0, 0, False)
            values = {f"new_{name}": getattr(new, name) for name in _NAMES}
            session.change(self._insert, {**values, "new_arguments": json.dumps(dict(arguments)), "new_cancel": 0})
            session.change(self._prune, {"new_id": number - _KEPT})
            return number

        number = self._database.write(enter)
        self._there = True
        return number

    def get(self, number: int) -> Job | None:
        """One job, None when there is none of that number."""
        found = self._read(self._rows.where(self._id == bindparam("number", number, type_=NULLTYPE)))
        return found[0] if found else None

    def all(self, most: int = _KEPT) -> list[Job]:
        """The latest jobs, the newest first."""
        return self._read(self._rows.order_by(self._id.desc()).limit(most))

    def take(self, kind: str) -> Job | None:
        """Begin the oldest job of a kind that waits, and return it."""
        if not self._exists():
            return None

        def begin(session: Session) -> Job | None:
            rows = session.rows(self._next, {"new_kind": kind})
            if not rows:
                return None
            job = _job(rows[0])
            values = {"new_id": job.id, "new_state": RUNNING, "new_started": int(time.time())}
            session.change(self._start, values)
            return job

        return self._database.write(begin)

    def advance(self, number: int, done: int, total: int) -> None:
        """Note how far a job is."""
        self._change(self._advance, {"new_id": number, "new_done": done, "new_total": total})

    def end(self, number: int, state: str, message: str) -> None:
        """Note how a job ended: DONE, FAILED, CANCELLED, or QUEUED again when the server stops."""
        ended = 0 if state == QUEUED else int(time.time())
        values = {"new_id": number, "new_state": state, "new_message": message, "new_ended": ended}
        self._change(self._end, values)

    def cancel(self, number: int) -> None:
        """Ask a job that has not ended to end."""
        self._change(self._ask_to_end, {"new_id": number, "new_cancel": 1})

    def requeue(self, kind: str) -> None:
        """Queue again what ran when the server stopped or was killed."""
        if self._exists():
            self._change(self._again, {"new_kind": kind, "new_state": QUEUED})

    def _change(self, statement: Prepared, values: Mapping[str, object]) -> None:
        self._database.write(lambda session: session.change(statement, values))

    def _read(self, statement: Any) -> list[Job]:
        return [_job(tuple(row)) for row in self._database.stream(statement)] if self._exists() else []

    def _exists(self) -> bool:
        if not self._there:
            with self._database.reading() as connection:
                self._there = inspect(connection).has_table(JOBS)
        return self._there


def _job(row: tuple[Any, ...]) -> Job:
    number, kind, arguments, state, done, total, message, created, started, ended, cancel = row
    times = (int(created), int(started), int(ended))
    return Job(
        int(number),
        str(kind),
        json.loads(arguments),
        str(state),
        int(done),
        int(total),
        str(message),
        *times,
        cancel != 0,
    )
