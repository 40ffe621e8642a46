"""One module per heading of ConQuest's help; importing this package fills the table in `dgate.command`."""

from dgate.commands import (
    communication,
    compression,
    configuration,
    database,
    delete,
    jobs,
    log,
    maintenance,
    move,
    pictures,
    rev,
    test,
)

__all__ = [
    "communication",
    "compression",
    "configuration",
    "database",
    "delete",
    "jobs",
    "log",
    "maintenance",
    "move",
    "pictures",
    "rev",
    "test",
]
