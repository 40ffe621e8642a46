"""What can go wrong in the index; no message ever holds a patient's name or ID."""


class SchemaError(Exception):
    """`dicom.sql` cannot be used; the message names the file, the line and the remedy."""


class DatabaseError(Exception):
    """The database cannot do what was asked; the message is one line for the operator, with its cause."""


class DatabaseLocked(DatabaseError):
    """Somebody else keeps the database locked; nothing was changed and the same call may succeed later."""


class DatabaseMissing(DatabaseError):
    """There is no database yet; the server makes it when it starts."""


class DatabaseFull(DatabaseError):
    """There is no room for more rows; nothing was changed."""


class BadValue(DatabaseError):
    """A value that the database cannot hold, such as a file name longer than its column; nothing was changed."""


class QueryRefused(Exception):
    """A query that this index does not run: an unknown column, or SQL beyond a plain read of its own tables."""


class Refused(Exception):
    """One object that the index does not take; its message is the line for the log. Nothing of it was entered."""


class MissingUid(Refused):
    """The object has no usable SOP instance, series or study UID, so no row can be told from others."""


class LinkRefused(Refused):
    """The object says that its series, study or patient is another than the index knows (ConQuest's link check)."""
