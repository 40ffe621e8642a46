"""Entering objects: the rows of image, series, study and patient, and the rules by which they may change."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import bindparam, delete, exists, not_, select, update
from sqlalchemy.sql.sqltypes import NULLTYPE

from db.backend import Condition
from db.engine import Database, Prepared, Session
from db.errors import BadValue, LinkRefused, Refused
from db.fields import Fielded, Fields, Values
from db.images import ImageRows
from db.objects import Added, Location
from db.rows import Batch, Cells, Example, Known, Level, Row
from db.schema import LEVELS, MODALITIES_IN_STUDY, MODALITY, PATIENT_ID
from db.settings import DbSettings
from db.tables import LiveTables
from db.values import Repaired, add_modality, repair, study_values

_T = TypeVar("_T")
# What enters objects in a transaction and tells for each what became of it.
Add = Callable[[Session, Sequence[Fielded]], list[Added | Refused]]


class Writer:
    """Enters objects into one database; its statements are compiled once."""

    def __init__(self, database: Database, tables: LiveTables, settings: DbSettings, fields: Fields) -> None:
        self._backend = database.backend
        self._tables = tables
        self._settings = settings
        self._levels = {level: Level(database, tables[level], settings) for level in LEVELS}
        self._fields = fields
        self._images = ImageRows(tables["IMAGE"], fields, self._levels["IMAGE"])
        self._known = Known()
        self._series_of_study, self._images_of_study = _fill_in_statements(database, tables)
        self._drop_nameless = _drop_nameless_statement(database, tables)

    def either_way(self, run: Callable[[Add], _T]) -> _T:
        """Do what takes a way of adding with the quick one, and once more with the careful one if a value is bad.

        That is rare enough to start over, slowly, so that only the object with that value is left out.
        """
        try:
            return run(self.add_many)
        except BadValue:
            return run(self.add_carefully)

    def add_many(self, session: Session, objects: Sequence[Fielded]) -> list[Added | Refused]:
        """Enter objects one after the other; one that is refused leaves nothing and does not touch the others."""
        known = self._known.as_of(session)
        batch = Batch(session, self._levels, known)
        results: list[Added | Refused] = []
        for new in objects:
            quick = self._quick(batch, new)
            if quick is None:
                # It may be one of those that wait.
                self._enter_waiting(batch, results)
                results.append(self._tried(batch, new))
            else:
                results.append(quick)
        self._enter_waiting(batch, results)
        known.keep(session)
        return results

    def add_carefully(self, session: Session, objects: Sequence[Fielded]) -> list[Added | Refused]:
        """Do the same, and refuse those objects that have a value the database cannot hold."""
        results: list[Added | Refused] = []
        for new in objects:
            try:
                with session.savepoint():
                    results.append(self._tried(Batch(session, self._levels, Known()), new))
            except Refused as refused:
                results.append(refused)
        return results

    def _quick(self, batch: Batch, new: Fielded) -> Added | None:
        """Let an object wait, if all but the row of its image is there already; None when that takes a look."""
        example = batch.example(new.above[self._images.series], new.above)
        if example is None:
            return None
        row = self._images.row(new.own, example.linked, batch.now, new.device, new.file)
        if row is None:
            return None
        batch.waiting.append((new, row))
        return Added(True, None, *example.ids, row[self._images.key])

    def _enter_waiting(self, batch: Batch, results: list[Added | Refused]) -> None:
        """Enter the images that wait, the last of `results`."""
        waiting, batch.waiting = batch.waiting, []
        if not waiting:
            return
        assert self._images.insert is not None, "only then something waits"
        if batch.session.change_many(self._images.insert, [row for _, row in waiting]) < len(waiting):
            # Some were there, or came twice: one by one, which finds those that have just been entered as they are.
            results[-len(waiting) :] = [self._tried(batch, new) for new, _ in waiting]

    def _tried(self, batch: Batch, new: Fielded) -> Added | Refused:
        try:
            return self._add(batch, new)
        except Refused as refused:  # raised before the first row is written
            return refused

    def _add(self, batch: Batch, new: Fielded) -> Added:
        repaired = repair(self._fields.values(new), self._tables.schema, self._settings)
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
        return _added(repaired, stored=not keep, previous=None if before == place else before)

    def _check_links(self, repaired: Repaired, stored: dict[str, Row | None]) -> None:
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

    def _enter(self, batch: Batch, repaired: Repaired, stored: dict[str, Row | None], new: Fielded) -> None:
        warnings, study = repaired.warnings, stored["STUDY"]
        patient = batch.find("PATIENT", repaired.patient_id)
        of_study = study_values(repaired, self._modalities(repaired, study))
        image = batch.put("IMAGE", repaired.values, stored["IMAGE"], new, warnings)
        batch.put("SERIES", repaired.values, stored["SERIES"], new, warnings)
        batch.put("STUDY", of_study, study, new, warnings)
        cells = batch.put("PATIENT", repaired.values, patient, new, warnings)
        warnings += self._inconsistencies(patient, cells, repaired.study_uid)
        if study is not None and not study.link and repaired.patient_id:
            self._fill_in_patient(batch, repaired)
        self._remember(batch, repaired, new.above, image)

    def _remember(self, batch: Batch, repaired: Repaired, above: Values, image: Cells) -> None:
        example = None
        if repaired.patient_id and not repaired.warnings and self._images.insert is not None:
            linked = tuple([self._backend.stored(image[place]) for place in self._images.linked])
            ids = (repaired.patient_id, repaired.study_uid, repaired.series_uid)
            example = Example(above, batch.now, linked, ids)
        batch.remember(above[self._images.series], example)

    def _modalities(self, repaired: Repaired, study: Row | None) -> str | None:
        column = self._tables["STUDY"].definition.by_path.get(MODALITIES_IN_STUDY)
        if column is None:
            return None
        stored = None if study is None else study.cells[self._tables["STUDY"].definition.columns.index(column)]
        return add_modality(stored, repaired.values.get(MODALITY, ""), column.length)

    def _inconsistencies(self, stored: Row | None, new: Cells, study_uid: str) -> list[str]:
        """Report which patient attributes changed; not their values, which are nobody's business in a log."""
        if stored is None:
            return []
        table = self._tables["PATIENT"].definition
        return [
            f"***Inconsistent {column.name} in {table.name}: changed by study {study_uid}"
            for column, old, now in zip(table.columns, stored.cells, new, strict=True)
            if old and now and old != now
        ]

    def _fill_in_patient(self, batch: Batch, repaired: Repaired) -> None:
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
