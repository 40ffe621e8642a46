"""One module per DIMSE service; importing this package fills the table in `server.service`."""

from server.services import echo, find, get, move, store

__all__ = ["echo", "find", "get", "move", "store"]
