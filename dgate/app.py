"""Wiring: from a configuration to a running server; the only place that builds things."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from functools import partial

import dgate.commands  # noqa: F401  (fills the table of commands)
import server.services  # noqa: F401  (fills the table of services)
from db.index import Index
from db.schema import load_schema
from dgate import __version__
from dgate.command import run
from dgate.config import Configuration, load
from server.amap import AeMap
from server.dictionary import DicomDictionary
from server.listener import Listener
from server.log import Logs, console_host
from server.pipeline.reconcile import adopt_leftovers
from server.server import Server
from server.soplist import SopList
from server.uid import UidMaker
from storage.device import DeviceLocks
from storage.store import Storage

log = logging.getLogger("dgate")


def build(configuration: Configuration, *, overrides: Mapping[str, str] | None = None, uid_offset: int = 0) -> Server:
    """Build the server object of a configuration: files are read, nothing is opened and nothing listens yet.

    `overrides` are the keys that the command line set; `read_ini:` keeps them.

    Raises the one-line errors of each part: DeviceError, SchemaError, DatabaseError, ValueError, OSError.
    """
    base, settings = configuration.base, configuration.server
    storage = Storage(configuration.storage, base)
    schema_file = base / settings.kFactorFile
    schema = load_schema(schema_file if schema_file.exists() else None, configuration.db)
    return Server(
        base=base,
        ini=configuration.ini,
        settings=settings,
        storage=storage,
        index=Index(configuration.db, schema, base, durability=configuration.storage.Durability),
        amap=AeMap(base / settings.ACRNemaMap),
        sops=SopList(base / settings.SOPClassList),
        dictionary=DicomDictionary(base / settings.Dictionary),
        logs=Logs(base, settings.PACSName, console_host(settings.OperatorConsole), settings.DebugLevel),
        run_command=run,
        reload=partial(reload_settings, overrides=dict(overrides or {})),
        new_uid=UidMaker(configuration.storage.UIDPrefix, uid_offset),
    )


def reload_settings(server: Server, *, overrides: Mapping[str, str]) -> None:
    """Take the server's settings anew from dicom.ini (`read_ini:`); devices, database and port stay as they are.

    Raises ConfigurationError when a value is bad; then the present settings stay in force.
    """
    server.settings = load(server.ini.path, overrides).server


class Daemon:
    """A server that can be started and stopped, for the program and for tests alike."""

    def __init__(
        self, configuration: Configuration, *, overrides: Mapping[str, str] | None = None, uid_offset: int = 0
    ) -> None:
        self._warnings = (*configuration.warnings, *configuration.later)
        self.server = build(configuration, overrides=overrides, uid_offset=uid_offset)
        self._locks: DeviceLocks | None = None
        self._listener: Listener | None = None

    @property
    def port(self) -> int:
        """The port listened on."""
        return self.server.port

    def start(self) -> None:
        """Claim the devices, make the tables if there are none, and listen.

        Raises DeviceError, DatabaseError, OSError and ListenError; then nothing is left running.
        """
        server = self.server
        try:
            server.storage.check()
            self._locks = server.storage.lock()
            server.logs.open(server.settings.TroubleLog, server.settings.UserLog)
            for line in server.index.ensure_tables():
                log.info("%s", line)
            adopt_leftovers(server)
            self._listener = Listener(server)
        except BaseException:
            self._close()
            raise
        for warning in (*self._warnings, *server.amap.warnings, *server.dictionary.warnings):
            log.warning("%s", warning)
        self._listener.start()
        log.info("DGATE (%s) is running as threaded server, started on %s", __version__, time.ctime(server.started))
        log.info("AE title %s, port %d", server.ae_title, self.port)
        log.info("Database type: %s", server.index.database_type)

    def wait(self) -> None:
        """Wait until somebody stops the server: a signal, `quit:`, `safequit:`."""
        self.server.running.stopping.wait()

    def stop(self) -> None:
        """Close the port, end open associations, fold the database in."""
        if self._listener is not None:
            self._listener.stop()
            self._listener = None
            log.info("DGATE has stopped")
        self._close()

    def _close(self) -> None:
        self.server.index.close()
        self.server.logs.close()
        if self._locks is not None:
            self._locks.close()
            self._locks = None
