"""Wiring: from a configuration to a running server; the only place that builds things."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import dgate.commands  # noqa: F401  (fills the table of commands)
import server.services  # noqa: F401  (fills the table of services)
from db.errors import DatabaseError
from db.index import Index
from db.schema import load_schema
from dgate import __version__
from dgate.command import run
from dgate.config import Configuration, load
from dgate.crawl.job import CRAWL
from dgate.rev.job import REV
from dgate.rev.keeping import Keeper
from server.amap import AeMap
from server.dictionary import DicomDictionary
from server.jobs import JobKind, JobRunner
from server.jobs.recompress import RECOMPRESS
from server.listener import Listener
from server.log import Logs, console_host
from server.pipeline.entered import Handed
from server.pipeline.reconcile import adopt_leftovers, after_worker, leave_clean, reconcile, reconcile_behind
from server.server import Server
from server.soplist import SopList
from server.uid import UidMaker
from storage.device import DeviceLocks
from storage.errors import StorageError
from storage.store import Storage

if TYPE_CHECKING:
    from server.web.host import WebServer

log = logging.getLogger("dgate")

# What the server does in the background; each tool declares its own.
JOB_KINDS: tuple[JobKind, ...] = (CRAWL, REV, RECOMPRESS)

# By then what others had begun when a process was killed is entered or gone.
_SETTLING_S = 60.0


def build(configuration: Configuration, *, overrides: Mapping[str, str] | None = None, uid_offset: int = 0) -> Server:
    """Build the server object of a configuration: files are read, nothing is opened and nothing listens yet.

    `overrides` are the keys that the command line set; `read_ini:` keeps them.

    Raises the one-line errors of each part: DeviceError, SchemaError, DatabaseError, ValueError, OSError.
    """
    base, settings = configuration.base, configuration.server
    storage = Storage(configuration.storage, base)
    schema_file = base / settings.kFactorFile
    schema = load_schema(schema_file if schema_file.exists() else None, configuration.db)
    built = Server(
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
    built.index.report_to(Handed(built))
    return built


def reload_settings(server: Server, *, overrides: Mapping[str, str]) -> None:
    """Take the server's settings anew from dicom.ini (`read_ini:`); devices, database and port stay as they are.

    Raises ConfigurationError when a value is bad; then the present settings stay in force.
    """
    server.settings = load(server.ini.path, overrides).server


class Work:
    """What a server does beside associations, in whichever process that is."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._tidying = threading.Lock()
        self._unclean = 1
        self._web: WebServer | None = None
        server.jobs = JobRunner(server, JOB_KINDS)
        self._keeper = Keeper(server)

    def start(self, *, again: bool = False) -> None:
        """Make the database ready and bring it and the files together; `again`: other processes are at work already.

        Raises DatabaseError, StorageError and OSError.
        """
        if again:
            threading.Thread(target=self.tidy, name="tidy", daemon=True).start()
            self._begin()
            return
        for line in self._server.index.ensure_tables():
            log.info("%s", line)
        unknown = reconcile(self._server)
        reconcile_behind(self._server, unknown)
        self._unclean = 0
        self._begin()

    def _begin(self) -> None:
        if self._server.jobs is not None:
            self._server.jobs.start()
            self._keeper.start()
        self._start_web()

    def tidy(self) -> None:
        """Bring together what a process that was killed just now left behind; takes a minute, raises nothing."""
        died_ns = time.time_ns()
        try:
            with self._tidying:
                self._unclean += 1
                adopt_leftovers(self._server, alone=False)
            if self._server.running.stopping.wait(_SETTLING_S):
                return  # the next start does it
            with self._tidying:
                after_worker(self._server, died_ns)
                self._unclean -= 1
        except (DatabaseError, StorageError, OSError) as error:
            log.error("***What a killed process left behind waits for the next start: %s", error)

    def stop(self, *, clean: bool = True) -> None:
        """Fold the database in and note that all is well, unless something was killed (not `clean`) or never began."""
        self.close()
        self._server.index.close()
        if self._server.index.in_flight:
            log.error("***Objects were stored whose rows cannot be entered; the next start does it from their files")
        if clean and not self._unclean:
            leave_clean(self._server)

    def close(self) -> None:
        """End what runs beside the database: jobs, the web server, codec processes, names that are being settled."""
        self._keeper.stop()
        if self._server.jobs is not None:
            self._server.jobs.stop()
        if self._web is not None:
            self._web.stop()
            self._web = None
        self._server.codecs.close()
        self._server.storage.close()

    def _start_web(self) -> None:
        """Start the web server if one is asked for. Without its port the archive works all the same."""
        if not self._server.settings.WebPort:
            return
        from server.web.host import WebError, WebServer  # here, for most processes have no web server

        try:
            self._web = WebServer(self._server)
        except WebError as error:
            log.error("***%s", error)
            return
        self._web.start()
        log.info("Web server at %s", self._web.url)


def announce(server: Server, warnings: Iterable[str]) -> None:
    """Say in the log what there is to say about the configuration, and that the server runs."""
    for warning in (*warnings, *server.amap.warnings, *server.dictionary.warnings):
        log.warning("%s", warning)
    log.info("DGATE (%s) is running as threaded server, started on %s", __version__, time.ctime(server.started))
    log.info("AE title %s, port %d", server.ae_title, server.port)
    log.info("Database type: %s", server.index.database_type)


class Daemon:
    """A server in one process that can be started and stopped, for the program and for tests alike."""

    def __init__(
        self, configuration: Configuration, *, overrides: Mapping[str, str] | None = None, uid_offset: int = 0
    ) -> None:
        self._warnings = (*configuration.warnings, *configuration.later)
        self.server = build(configuration, overrides=overrides, uid_offset=uid_offset)
        self._work = Work(self.server)
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
            self._locks = claim(server)
            listener = Listener(server)
            try:
                self._work.start()
                listener.start()
            except BaseException:
                listener.stop()
                raise
        except BaseException:
            self._close()
            raise
        self._listener = listener
        announce(server, self._warnings)

    def wait(self) -> None:
        """Wait until somebody stops the server: a signal, `quit:`, `safequit:`."""
        self.server.running.stopping.wait()

    def stop(self) -> None:
        """Close the port, end open associations, fold the database in."""
        if self._listener is not None:
            self._listener.stop()
            self._listener = None
            # What still holds an association may be between a file and its row.
            self._work.stop(clean=self.server.running.open_threads == 0)
            log.info("DGATE has stopped")
        self._close()

    def _close(self) -> None:
        self._work.close()
        self.server.index.close()
        self.server.logs.close()
        if self._locks is not None:
            self._locks.close()
            self._locks = None


def claim(server: Server) -> DeviceLocks:
    """See that the devices can be written, claim them, and open the logs; raises DeviceError and OSError."""
    server.storage.check()
    locks = server.storage.lock()
    try:
        server.logs.open(server.settings.TroubleLog, server.settings.UserLog)
    except BaseException:
        locks.close()
        raise
    return locks
