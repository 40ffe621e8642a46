"""Removing objects from the index, and what became empty by it."""

from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import ClauseElement, Select, bindparam, delete, exists, func, literal_column, select, update
from sqlalchemy.sql.sqltypes import NULLTYPE

from db.backend import Column as SqlColumn
from db.engine import Database, Prepared, Session
from db.objects import Location, StoredObject
from db.schema import MODALITIES_IN_STUDY, MODALITY, PATIENT_ID, WORKLIST
from db.tables import LiveTables
from db.values import join_modalities


def _parameter(name: str) -> SqlColumn:
    return bindparam(name, type_=NULLTYPE)


class Remover:
    """Removes rows from one database; its statements are compiled once."""

    def __init__(self, database: Database, tables: LiveTables) -> None:
        self._backend = database.backend
        self._tables = tables
        self._database = database
        images, series, studies, patients = (tables[level] for level in ("IMAGE", "SERIES", "STUDY", "PATIENT"))
        nothing: SqlColumn = literal_column("''")
        self._image = self._prepared(
            delete(images.sql).where(
                images.key == _parameter("sop"),
                func.coalesce(images.own("DeviceName"), nothing) == _parameter("device"),
                database.backend.key_parameter(func.coalesce(images.own("ObjectFile"), nothing)),
            )
        )
        self._image_left = self._any(select(images.key).where(images.link == _parameter("uid")))
        self._series_left = self._any(select(series.key).where(series.link == _parameter("uid")))
        self._study_left = self._any(select(studies.key).where(database.backend.key_parameter(studies.link)))
        self._study_patient = self._prepared(select(studies.link).where(studies.key == _parameter("uid")))
        self._series = self._prepared(delete(series.sql).where(series.key == _parameter("uid")))
        self._study = self._prepared(delete(studies.sql).where(studies.key == _parameter("uid")))
        self._patient = self._prepared(delete(patients.sql).where(database.backend.key_parameter(patients.key)))
        self._modalities = _Modalities(database, tables)

    def _prepared(self, statement: ClauseElement) -> Prepared:
        return Prepared(statement, self._database)

    def _any(self, rows: Select[Any]) -> Prepared:
        """Return what has one row when these have any."""
        return self._prepared(select(literal_column("1")).where(exists(rows)))

    def remove(
        self,
        session: Session,
        objects: Iterable[StoredObject],
        *,
        worklist: bool,
        only: Callable[[StoredObject], bool] | None,
    ) -> list[Location]:
        """Remove these objects, then series, studies and patients without any; return the files that were theirs.

        An object whose row names another file by now stays: it was stored again meanwhile. So does one for which
        `only` is false. With `worklist` the worklist rows of a removed patient go too.
        """
        files: list[Location] = []
        series: dict[str, str] = {}
        for each in objects:
            if only is not None and not only(each):
                continue
            values = {"sop": each.sop_instance, "device": each.device, **self._backend.key_values(each.file)}
            if session.change(self._image, values):
                files.append(Location(each.device, each.file))
                series[each.series_uid] = each.study_uid
        studies = [study for uid, study in series.items() if self._removed_series(session, uid)]
        patients = [self._removed_study(session, uid) for uid in dict.fromkeys(studies)]
        for patient in dict.fromkeys(patients):
            if patient is not None:
                self._remove_patient(session, patient, worklist=worklist)
        return files

    def _removed_series(self, session: Session, uid: str) -> bool:
        if session.rows(self._image_left, {"uid": uid}):
            return False
        session.change(self._series, {"uid": uid})
        return True

    def _removed_study(self, session: Session, uid: str) -> str | None:
        """Remove a study if it has no series left and return its patient; else correct its modalities."""
        if session.rows(self._series_left, {"uid": uid}):
            self._modalities.correct(session, uid)
            return None
        links = session.rows(self._study_patient, {"uid": uid})
        session.change(self._study, {"uid": uid})
        return links[0][0] if links else None

    def _remove_patient(self, session: Session, patient: str, *, worklist: bool) -> None:
        values = self._backend.key_values(patient)
        if session.rows(self._study_left, values):
            return
        session.change(self._patient, values)
        if worklist:
            self.remove_worklist(session, patient)

    def remove_worklist(self, session: Session, patient: str) -> int:
        """Remove the worklist rows of a patient; return how many there were."""
        table = self._tables[WORKLIST]
        definition = table.definition.by_path.get(PATIENT_ID)
        if definition is None:
            return 0
        rows = delete(table.sql).where(self._backend.key_parameter(table.column(definition)))
        return session.change(self._prepared(rows), self._backend.key_values(patient))


class _Modalities:
    """Keeps StudyModality what it says when a study loses series."""

    def __init__(self, database: Database, tables: LiveTables) -> None:
        studies, series = tables["STUDY"], tables["SERIES"]
        column = studies.definition.by_path.get(MODALITIES_IN_STUDY)
        of_series = series.definition.by_path.get(MODALITY)
        self._known = column is not None and of_series is not None
        if column is None or of_series is None:
            return
        self._length = column.length
        here = studies.key == _parameter("uid")
        self._stored = Prepared(select(studies.column(column)).where(here), database)
        self._left = Prepared(select(series.column(of_series)).where(series.link == _parameter("uid")), database)
        self._update = Prepared(
            update(studies.sql).where(here).values({studies.column(column): _parameter("modalities")}), database
        )

    def correct(self, session: Session, study_uid: str) -> None:
        if not self._known:
            return
        values = {"uid": study_uid}
        left = {modality for (modality,) in session.rows(self._left, values) if modality}
        for (stored,) in session.rows(self._stored, values):
            order = [modality for modality in (stored or "").split("\\") if modality in left]
            order += sorted(left.difference(order))
            session.change(self._update, values | {"modalities": join_modalities(order, self._length)})
