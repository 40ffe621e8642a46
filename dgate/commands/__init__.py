"""One module per heading of ConQuest's help; importing this package fills the table in `dgate.command`."""

from dgate.commands import communication, configuration, database, delete, log, maintenance, move, test

__all__ = ["communication", "configuration", "database", "delete", "log", "maintenance", "move", "test"]
