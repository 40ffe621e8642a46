"""Entering objects: the rows of image, series, study and patient, and the rules by which they may change."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, exists, insert, not_, select, update
from sqlalchemy.sql.sqltypes import NULLTYPE

from db.backend import Column as SqlColumn
from db.backend import Condition
from db.engine import Database, Prepared, Session
from db.errors import LinkRefused, Refused
from db.objects import Added, Location, NewObject
from db.schema import LEVELS, MODALITIES_IN_STUDY, MODALITY, PATIENT_ID, TagPath
from db.settings import DbSettings
from db.tables import LiveTable, LiveTables
from db.values import Repaired, RowMaker, add_modality, repair, study_values

_Cells = list[str | None]
# How many patients, studies and series are remembered from one transaction to the next.
_KNOWN_MOST = 10_000


@dataclass(frozen=True, slots=True)
class _Row:
    """A row as it is stored; of an image also its place."""

    cells: _Cells
    access_time: int | None
    place: tuple[str | None, ...]

    @property
    def link(self) -> str:
        return self.cells[-1] or ""


class Writer:
    """Enters objects into one database; its statements are compiled once."""

    def __init__(self, database: Database, tables: LiveTables, settings: DbSettings) -> None:
        self._backend = database.backend
        self._tables = tables
        self._settings = settings
        self._levels = {level: _Level(database, tables[level], settings) for level in LEVELS}
        self._above = tuple(
            {column.path for level in LEVELS if level != "IMAGE" for column in tables[level].definition.columns}
        )
        self._known = _Known()
        self._series_of_study, self._images_of_study = _fill_in_statements(database, tables)
        self._drop_nameless = _drop_nameless_statement(database, tables)

    def add_many(self, session: Session, objects: Sequence[NewObject]) -> list[Added | Refused]:
        """Enter objects one after the other; one that is refused leaves nothing and does not touch the others."""
        known = self._known.as_of(session)
        batch = _Batch(session, self._levels, known)
        results = [self._tried(batch, new) for new in objects]
        known.keep(session)
        return results

    def add_carefully(self, session: Session, objects: Sequence[NewObject]) -> list[Added | Refused]:
        """Do the same, and refuse those objects that have a value the database cannot hold."""
        results: list[Added | Refused] = []
        for new in objects:
            try:
                with session.savepoint():
                    results.append(self._tried(_Batch(session, self._levels, _Known()), new))
            except Refused as refused:
                results.append(refused)
        return results

    def _tried(self, batch: "_Batch", new: NewObject) -> Added | Refused:
        try:
            return self._add(batch, new)
        except Refused as refused:  # raised before the first row is written
            return refused

    def _add(self, batch: "_Batch", new: NewObject) -> Added:
        repaired = repair(new.values, self._tables.schema, self._settings)
        above = [repaired.values.get(path) for path in self._above]
        if batch.entered_before(repaired, above) and batch.insert_image(repaired, new):
            return _added(repaired)
        stored = {
            "IMAGE": batch.find("IMAGE", repaired.sop_instance),
            "SERIES": batch.find("SERIES", repaired.series_uid),
            "STUDY": batch.find("STUDY", repaired.study_uid),
        }
        self._check_links(repaired, stored)
        image = stored["IMAGE"]
        place = Location(new.device, new.file)
        before = None if image is None else Location(*(text or "" for text in image.place))
        # A row that names the new file already is that of a regeneration, which was quicker.
        keep = image is not None and not new.replace and before != place
        if not keep:
            self._enter(batch, repaired, stored, new)
            batch.remember(repaired, above)
        return _added(repaired, stored=not keep, previous=None if before == place else before)

    def _check_links(self, repaired: Repaired, stored: dict[str, _Row | None]) -> None:
        """Refuse an object whose links differ from those known; take the study's patient ID for a missing one."""
        links = (
            ("IMAGE", repaired.sop_instance, repaired.series_uid),
            ("SERIES", repaired.series_uid, repaired.study_uid),
        )
        for level, uid, link in links:
            row = stored[level]
            if row is not None and row.link not in ("", link):
                start = self._levels[level].refusal(uid)
                raise LinkRefused(f"{start}, Old='{row.link}', Refused='{link}'")
        study = stored["STUDY"]
        if study is None:
            return
        if not repaired.patient_id:
            repaired.patient_id = study.link
        elif study.link not in ("", repaired.patient_id):
            start = self._levels["STUDY"].refusal(repaired.study_uid)
            raise LinkRefused(f"{start}, PatientID differs")

    def _enter(self, batch: "_Batch", repaired: Repaired, stored: dict[str, _Row | None], new: NewObject) -> None:
        warnings, study = repaired.warnings, stored["STUDY"]
        patient = batch.find("PATIENT", repaired.patient_id)
        of_study = study_values(repaired, self._modalities(repaired, study))
        batch.put("IMAGE", repaired.values, stored["IMAGE"], new, warnings)
        batch.put("SERIES", repaired.values, stored["SERIES"], new, warnings)
        batch.put("STUDY", of_study, study, new, warnings)
        cells = batch.put("PATIENT", repaired.values, patient, new, warnings)
        warnings += self._inconsistencies(patient, cells, repaired.study_uid)
        if study is not None and not study.link and repaired.patient_id:
            self._fill_in_patient(batch, repaired)

    def _modalities(self, repaired: Repaired, study: _Row | None) -> str | None:
        column = self._tables["STUDY"].definition.by_path.get(MODALITIES_IN_STUDY)
        if column is None:
            return None
        stored = None if study is None else study.cells[self._tables["STUDY"].definition.columns.index(column)]
        return add_modality(stored, repaired.values.get(MODALITY, ""), column.length)

    def _inconsistencies(self, stored: _Row | None, new: _Cells, study_uid: str) -> list[str]:
        """Report which patient attributes changed; not their values, which are nobody's business in a log."""
        if stored is None:
            return []
        table = self._tables["PATIENT"].definition
        return [
            f"***Inconsistent {column.name} in {table.name}: changed by study {study_uid}"
            for column, old, now in zip(table.columns, stored.cells, new, strict=True)
            if old and now and old != now
        ]

    def _fill_in_patient(self, batch: "_Batch", repaired: Repaired) -> None:
        """Give a study that came without patient ID, all of it, the ID that has come now."""
        values = {"key": repaired.study_uid, "patient": self._backend.stored(repaired.patient_id)}
        for statement in (self._series_of_study, self._images_of_study):
            if statement is not None:
                batch.session.change(statement, values)
        batch.session.change(self._drop_nameless, {"nobody": ""})
        batch.forget()


def _added(repaired: Repaired, *, stored: bool = True, previous: Location | None = None) -> Added:
    return Added(
        stored,
        previous,
        repaired.patient_id,
        repaired.study_uid,
        repaired.series_uid,
        repaired.sop_instance,
        tuple(repaired.warnings),
    )


class _Known:
    """What the last transaction left above the images, good for the next as long as nobody else writes between them.

    `entered` has, for each series, what its last object said above the image, and the AccessTime it was entered at.
    """

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], _Row] = {}
        self.entered: dict[str, tuple[list[str | None], int]] = {}
        self._after = 0
        self._version: object = None

    def as_of(self, session: Session) -> "_Known":
        """Return this, emptied unless the transaction follows the one it was kept in."""
        version = session.others_version()
        follows = session.number == self._after + 1 and version == self._version and version is not None
        if not follows or len(self.rows) > _KNOWN_MOST:
            self.clear()
        self._version, self._after = version, 0
        return self

    def keep(self, session: Session) -> None:
        """Hold on to it behind a transaction; one that fails after all is followed by one of another number."""
        self._after = session.number

    def clear(self) -> None:
        self.rows.clear()
        self.entered.clear()


class _Batch:
    """The objects of one transaction: rows above the image that one of them has seen are not read for the next."""

    def __init__(self, session: Session, levels: Mapping[str, "_Level"], known: _Known) -> None:
        self.session = session
        self._levels = levels
        self._now = int(time.time()) & ~31  # as ConQuest keeps AccessTime
        self._known = known

    def entered_before(self, repaired: Repaired, above: list[str | None]) -> bool:
        """Whether the last object of the series said the same above the image, so that all but its row is there."""
        return self._known.entered.get(repaired.series_uid) == (above, self._now)

    def insert_image(self, repaired: Repaired, new: NewObject) -> bool:
        """Enter an image that is not there; False, and nothing done, when it is or when that takes a look."""
        # The same UID in another encoding is another key.
        return repaired.sop_instance.isascii() and self._levels["IMAGE"].insert(
            self.session, repaired.values, self._now, repaired.warnings, new
        )

    def remember(self, repaired: Repaired, above: list[str | None]) -> None:
        """Remember what was entered above the image; an object that there was something to say of is no example."""
        if repaired.warnings or not repaired.patient_id:
            self._known.entered.pop(repaired.series_uid, None)
        else:
            self._known.entered[repaired.series_uid] = above, self._now

    def find(self, level: str, key: str) -> _Row | None:
        known = self._known.rows.get((level, key))
        if known is None:
            known = self._levels[level].find(self.session, key)
            if known is not None and level != "IMAGE":
                self._known.rows[(level, key)] = known
        return known

    def put(
        self, level: str, values: Mapping[TagPath, str], before: _Row | None, new: NewObject, warnings: list[str]
    ) -> _Cells:
        cells = self._levels[level].put(self.session, values, before, self._now, warnings, new)
        if level != "IMAGE":
            if before is None or before.cells != cells or before.access_time != self._now:
                # Other series have said something else of this patient or study: their next object says it again.
                self._known.entered.clear()
            self._known.rows[(level, cells[0] or "")] = _Row(cells, self._now, ())
        return cells

    def forget(self) -> None:
        self._known.clear()


class _Level:
    """The rows of one table: find one by its key, enter or update one."""

    def __init__(self, database: Database, live: LiveTable, settings: DbSettings) -> None:
        backend = database.backend
        self._stored = backend.stored
        self._key_values = backend.key_values
        self._definition = live.definition
        self._maker = RowMaker(live.definition, settings)
        columns = [live.column(column) for column in live.definition.columns]
        self._width = len(columns)
        place = [live.own("DeviceName"), live.own("ObjectFile")] if live.definition.level == "IMAGE" else []
        read = [
            backend.read(column, date=definition.is_date)
            for column, definition in zip(columns, live.definition.columns, strict=True)
        ]
        same_key = backend.key_parameter(live.key)
        self._find = Prepared(select(*read, live.own("AccessTime"), *place).where(same_key), database)
        self._names = [f"c{number}" for number in range(self._width)]
        new_values: dict[SqlColumn, SqlColumn] = {
            column: backend.text_parameter(name) for name, column in zip(self._names, columns, strict=True)
        }
        new_values[live.own("AccessTime")] = bindparam("access_time", type_=NULLTYPE)
        for column, name in zip(place, ("device", "file"), strict=False):
            new_values[column] = backend.text_parameter(name)
        self._insert = Prepared(insert(live.sql).values(new_values), database)
        self._insert_new = Prepared(insert(live.sql).values(new_values), database, " ON CONFLICT DO NOTHING")
        self._keyed = live.keyed
        self._update = Prepared(update(live.sql).where(same_key).values(new_values), database)

    def find(self, session: Session, key: str) -> _Row | None:
        rows = session.rows(self._find, self._key_values(key))
        if not rows:
            return None
        if len(rows) > 1 and self._definition.level != "PATIENT":
            raise LinkRefused(f"***Duplicate found in {self._definition.name}: {self._definition.key.name} = '{key}'")
        cells = list(rows[0])
        return _Row(cells[: self._width], cells[self._width], tuple(cells[self._width + 1 :]))

    def put(
        self,
        session: Session,
        values: Mapping[TagPath, str],
        before: _Row | None,
        now: int,
        warnings: list[str],
        new: NewObject,
    ) -> _Cells:
        """Enter a row, or bring the one that is there up to date; return its cells."""
        cells = self._maker.row(values, new.file, warnings)
        is_image = self._definition.level == "IMAGE"
        if before is not None and not is_image and before.cells == cells and before.access_time == now:
            return cells
        parameters = self._parameters(cells, now, new)
        if before is None:
            session.change(self._insert, parameters)
        else:
            session.change(self._update, parameters | self._key_values(cells[0] or ""))
        return cells

    def insert(
        self, session: Session, values: Mapping[TagPath, str], now: int, warnings: list[str], new: NewObject
    ) -> bool:
        """Enter a row unless there is one with its key, which only a table that keeps keys unique can tell at once."""
        if not self._keyed:
            return False
        said = len(warnings)
        parameters = self._parameters(self._maker.row(values, new.file, warnings), now, new)
        if session.change(self._insert_new, parameters):
            return True
        del warnings[said:]
        return False

    def _parameters(self, cells: _Cells, now: int, new: NewObject) -> dict[str, object]:
        parameters: dict[str, object] = dict(zip(self._names, map(self._stored, cells), strict=True))
        parameters["access_time"] = now
        if self._definition.level == "IMAGE":
            parameters["device"], parameters["file"] = self._stored(new.device), self._stored(new.file)
        return parameters

    def refusal(self, uid: str) -> str:
        table = self._definition
        return f"***Refused to enter inconsistent link {table.link.name} into {table.name}: {table.key.name} = '{uid}'"


def _fill_in_statements(database: Database, tables: LiveTables) -> tuple[Prepared | None, Prepared | None]:
    """Return what gives the series and the images of a study a patient ID, where they have a column for it."""
    series, images = tables["SERIES"], tables["IMAGE"]
    study = bindparam("key", type_=NULLTYPE)

    def statement(level: str, where: Condition) -> Prepared | None:
        definition = tables[level].definition.by_path.get(PATIENT_ID)
        if definition is None:
            return None
        patient = database.backend.text_parameter("patient")
        return Prepared(
            update(tables[level].sql).where(where).values({tables[level].column(definition): patient}), database
        )

    of_study = select(series.key).where(series.link == study)
    return statement("SERIES", series.link == study), statement("IMAGE", images.link.in_(of_study))


def _drop_nameless_statement(database: Database, tables: LiveTables) -> Prepared:
    """Return what removes the patient without ID when no study is left without one."""
    patients, studies = tables["PATIENT"], tables["STUDY"]
    nobody = bindparam("nobody", type_=NULLTYPE)
    left = exists(select(studies.key).where(studies.link == nobody))
    return Prepared(delete(patients.sql).where(patients.key == nobody, not_(left)), database)
