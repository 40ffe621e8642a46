"""Whether the index has the series of an object, linked as the object says, so that its row will not be refused."""

from collections.abc import Mapping

from sqlalchemy import exists, select

from db.engine import Database
from db.errors import DatabaseError
from db.schema import PATIENT_ID, SERIES_UID, STUDY_UID, TagPath
from db.tables import LiveTables


class Links:
    """Looks links up, in what is committed."""

    def __init__(self, database: Database, tables: LiveTables) -> None:
        self._database = database
        self._series = tables["SERIES"]
        self._study = tables["STUDY"]

    def are_there(self, values: Mapping[TagPath, str]) -> bool:
        """Whether there is a row of this series that names this study, and one of that study that names this patient.

        False also when the object leaves one of the three out, and when the database does not answer.
        """
        ids = [values.get(path, "") for path in (PATIENT_ID, STUDY_UID, SERIES_UID)]
        if not all(ids):
            return False
        patient_id, study_uid, series_uid = ids
        rows = ((self._series, series_uid, study_uid), (self._study, study_uid, patient_id))
        one_of = self._database.backend.one_of
        linked = [exists().where(one_of(table.key, [uid]), one_of(table.link, [above])) for table, uid, above in rows]
        try:
            with self._database.looking() as connection:
                return connection.execute(select(1).where(*linked)).first() is not None
        except DatabaseError:
            return False
