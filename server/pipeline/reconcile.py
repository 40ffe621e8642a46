"""After a crash: files and index brought together again where files were written, before anyone asks."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from db.errors import DatabaseError, Refused
from db.objects import Location, NewObject
from db.query import Query
from db.schema import SOP_INSTANCE
from db.tombstones import DELETED, DETACHED
from server.pipeline.delete import is_gone, is_safe, paths_of, settle
from server.pipeline.ingest import Incoming, ingest
from server.pipeline.regen import regenerate_file
from server.server import Server
from server.status import Mismatch, cause
from storage.device import Device
from storage.errors import MissingFile, NotDicom, StorageError, TooLarge
from storage.header import Header, read_header
from storage.leftovers import is_sealed
from storage.part10 import read_object_file
from storage.scan import is_object_name, object_files

log = logging.getLogger("dgate")

REPORT_SECONDS = 10.0

# Directories of each device, with the time in nanoseconds since when files may have come to them.
Touched = Mapping[Device, Mapping[str, int]]


def reconcile(server: Server) -> list[Device]:
    """Bring files and index together before the port is listened on; only for who holds the devices alone.

    What deletes had begun is ended, what was stored but not entered is entered, what was being written is adopted or
    removed. Returns the devices of which nobody knows where to look, for `reconcile_behind`. Raises DatabaseError,
    StorageError and OSError; then everything stays for the next start.
    """
    tombstones = server.index.tombstones
    dead = _bury(server)
    touched = server.storage.touched
    kept = tombstones.kept_devices()
    booted = any(touched.booted_since(device) for device in server.storage.devices)
    unknown = [each for each in server.storage.devices if each.name in kept and not touched.is_kept(each)]
    reconcile_directories(server, {device: touched.noted(device) for device in server.storage.devices})
    if is_safe(server):
        server.index.sync()
    server.storage.remove_linked(alone=True)
    for device in server.storage.devices:
        if device not in unknown:
            touched.clear(device)
        if device.name not in kept:
            tombstones.keep_device(device.name)
    adopt_leftovers(server, trusted=not booted)
    settle(server, dead)
    return unknown


def leave_clean(server: Server) -> None:
    """Note that files and index agree, after the index was closed; only for who holds the devices alone.

    Does nothing when the index or the names of files could not be brought to rest: the next start looks once more.
    """
    for device in server.storage.devices:
        try:
            at_rest = server.index.at_rest and server.storage.is_settled(device)
            if at_rest and server.storage.touched.noted(device):
                server.storage.touched.clear(device)
        except (OSError, StorageError) as error:
            log.error("***%s: cannot note that the index has all of it: %s", device.name, error)


def after_worker(server: Server, died_ns: int) -> None:
    """Bring together what a worker process left that died at this time, beside the others that go on.

    To be called a minute after: by then whatever the others had begun before is entered or gone. Raises DatabaseError,
    StorageError and OSError.
    """
    noted = {device: server.storage.touched.noted(device) for device in server.storage.devices}
    reconcile_directories(server, noted, before_ns=died_ns)
    adopt_leftovers(server, alone=False)


def reconcile_directories(server: Server, touched: Touched, *, before_ns: int | None = None) -> None:
    """Enter files of these directories that no row names, and take out rows whose files are gone.

    Of two files of one SOP instance the later counts and the earlier goes, if the later came while the directory was
    touched. With `before_ns` only files of before that time count. Raises DatabaseError and OSError.
    """
    wanted = {(device.name, directory) for device, directories in touched.items() for directory in directories}
    if not wanted:
        return
    log.info("%d directories were written to when the server stopped; they are compared with the index", len(wanted))
    known: dict[tuple[str, str], str] = {}
    for uid, location in server.index.places():
        file = location.file.replace("\\", "/")
        if (location.device, file.rpartition("/")[0]) in wanted:
            known[(location.device, file)] = uid
    orphans = [
        (path.stat().st_mtime_ns, path, since_ns)
        for device, directories in touched.items()
        for directory, since_ns in directories.items()
        for path in _files(device.root / directory)
        if (device.name, f"{directory}/{path.name}".lstrip("/")) not in known
    ]
    taker = _Taker(server)
    for mtime_ns, path, since_ns in sorted(orphans):
        if before_ns is None or mtime_ns < before_ns:
            taker.take(path, ours=mtime_ns >= since_ns)
    roots = {device.name: device.root for device in touched}
    missing = [uid for (device, file), uid in known.items() if not (roots[device] / file).exists()]
    _take_out(server, missing)


def reconcile_behind(server: Server, devices: Iterable[Device]) -> None:
    """Compare whole devices with the index in a thread, beside the running server: their journals are missing."""
    for device in devices:
        threading.Thread(
            target=_reconcile_whole, args=(server, device, time.time_ns()), name=f"reconcile {device.name}", daemon=True
        ).start()


def _reconcile_whole(server: Server, device: Device, begun_ns: int) -> None:
    log.warning("%s has no journal of its directories: all of its files are compared with the index", device.name)
    try:
        known = {(location.device, location.file.replace("\\", "/")) for _, location in server.index.places()}
        taker = _Taker(server)
        reported = time.monotonic()
        for done, path in enumerate(object_files(device.root), 1):
            if server.running.stopping.is_set():
                return
            if time.monotonic() - reported >= REPORT_SECONDS:
                reported = time.monotonic()
                log.info("%s: %d files compared with the index, %d entered", device.name, done, taker.entered)
            if (server.storage.place(path) or ("", "")) not in known and path.stat().st_mtime_ns < begun_ns:
                taker.take(path, ours=False)
        server.storage.touched.keep(device)
        log.info("%s: all files were compared with the index, %d entered", device.name, taker.entered)
    except (DatabaseError, StorageError, OSError) as error:
        # The journal stays as it is, so that the next start tries again.
        log.error("***%s: its files could not all be compared with the index: %s", device.name, error)


def adopt_leftovers(server: Server, *, alone: bool = True, trusted: bool = True) -> None:
    """Deal with the temporary files of earlier processes; `alone` is who holds the devices and has no workers yet.

    Who is not removes them: whoever sent one knows, and may have sent the object again already. Those of before a power
    cut are not `trusted`: bytes that were not synced are zeros then, perhaps. But one whose name tells that it is whole
    may have been acknowledged and lost its final name; it is adopted, the latest of an object first, or stays until a
    start can. Nothing is lost by removing another; but a peer may not send again what it believes to have sent. Raises
    DatabaseError: then the files stay for the next start.
    """
    candidates = {}
    for leftover in server.storage.leftovers(alone=alone):
        try:
            sealed = alone and is_sealed(leftover)
        except OSError:
            sealed = True  # nobody can tell now
        if sealed or (alone and trusted):
            candidates[leftover] = sealed
        else:
            _remove_leftover(leftover)
    deleted = _deleted(server)
    for leftover, sealed in candidates.items():
        try:
            # A power cut may bring back a name that was taken away when the file had its final one, gone since.
            if not _is_outdated(server, leftover, deleted) and _adopted(server, leftover, sealed=sealed):
                leftover.unlink(missing_ok=True)
                log.info("Adopted an object that was whole when the server stopped: %s", leftover.name)
            else:
                _remove_leftover(leftover)
        except (StorageError, Refused, OSError) as error:
            log.error("***%s cannot be adopted and waits for the next start: %s", leftover.name, cause(error))


def _remove_leftover(leftover: Path) -> None:
    leftover.unlink(missing_ok=True)
    log.info("Removed what was written of an object when the server stopped: %s", leftover.name)


def _adopted(server: Server, leftover: Path, *, sealed: bool) -> bool:
    """Store what was left; False when it is not worth keeping. Raises what keeps it from being stored now."""
    try:
        spool = server.storage.adopt(leftover)
        uids = (spool.sop_class, spool.sop_instance, spool.transfer_syntax)
        try:
            note = ingest(server, Incoming(spool, *uids, calling="", called=server.ae_title))
        finally:
            spool.discard()
        log.info("%s", note)
    except (NotDicom, TooLarge, Mismatch, Refused) as error:
        if sealed and isinstance(error, Refused):
            raise  # its row may have been handed over
        log.info("%s is not whole: %s", leftover.name, error)
        return False
    return True


def _is_outdated(server: Server, leftover: Path, deleted: Mapping[str, int]) -> bool:
    """Whether the object of a temporary file was stored again, or deleted, after that was written."""
    try:
        uid = _header(server, leftover).text(*SOP_INSTANCE)
        written_ns = leftover.stat().st_mtime_ns
        if deleted.get(uid, 0) >= written_ns:
            return True
        named = server.index.locate(uid)
        return named is not None and server.storage.locate(named.device, named.file).stat().st_mtime_ns >= written_ns
    except (NotDicom, MissingFile):
        return False


def _deleted(server: Server) -> dict[str, int]:
    """When objects were deleted, in nanoseconds, as far as it is known still; by SOP instance UID."""
    return {each.uid: each.at_ns for each in server.index.tombstones.all() if each.uid}


def _bury(server: Server) -> list[Location]:
    """End deletes and replacements that had begun: remove what has a tombstone, unless it is another file by now.

    Returns the places of the tombstones, which have done their work when everything else is in order too.
    """
    dead = [each for each in server.index.tombstones.all() if each.kind == DELETED]
    for tombstone in dead:
        there = [path for path in paths_of(server, tombstone.location) if path.is_file()]
        if there and all(path.stat().st_mtime_ns <= tombstone.at_ns and not _is_named(server, path) for path in there):
            log.info("Removing what was deleted when the server stopped: %s", there[0])
            server.storage.remove(tombstone.location.device, tombstone.location.file)
    return [tombstone.location for tombstone in dead]


def _is_named(server: Server, path: Path) -> bool:
    """Whether a row names this very file."""
    try:
        found = server.index.locate(_header(server, path).text(*SOP_INSTANCE))
        return found is not None and server.storage.locate(found.device, found.file).samefile(path)
    except (NotDicom, MissingFile):
        return False


def _files(directory: Path) -> list[Path]:
    try:
        return [path for path in directory.iterdir() if is_object_name(path.name) and path.is_file()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _header(server: Server, path: Path) -> Header:
    """Read a file to its end; raises NotDicom for one that is not whole, or OSError."""
    found = read_object_file(path)
    with path.open("rb") as source:
        source.seek(found.offset)
        return read_header(source, found.transfer_syntax, server.wanted, whole=True)


def _take_out(server: Server, uids: Iterable[str]) -> None:
    """Take rows out of the index whose files are gone."""
    for uid in uids:
        rows = list(server.index.select_objects(Query(level="IMAGE", keys={SOP_INSTANCE: uid})))
        for gone in server.index.delete(rows, only=partial(is_gone, server)):
            log.error("***Taken out of the index, its file is missing: %s [%s:%s]", uid, gone.device, gone.file)


class _Taker:
    """Takes in files that no row names, one by one."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._deleted = _deleted(server)
        self._detached = {each.location for each in server.index.tombstones.all() if each.kind == DETACHED}
        self.entered = 0

    def take(self, path: Path, *, ours: bool) -> None:
        """Enter a file; an outdated one goes if it is `ours`: stored since the index was last known to be whole."""
        server = self._server
        place = server.storage.place(path)
        assert place is not None, "it lies on a device"
        location = Location(*place)
        if location in self._detached:
            return
        try:
            header = _header(server, path)
            uid = header.text(*SOP_INSTANCE)
            other = server.index.locate(uid)
            if other == location:
                return
            why = self._outdated(path, uid, other, ours=ours)
        except (NotDicom, OSError) as error:
            log.error("***No row names %s, which cannot be entered: %s", path, error)
            return
        if why:
            log.warning("***No row names %s, which is %s: %s", path, "removed" if ours else "left there", why)
            if ours:
                server.storage.remove(location.device, location.file)
            return
        self._enter(path, header, location, other)

    def _enter(self, path: Path, header: Header, location: Location, other: Location | None) -> None:
        server = self._server
        (result,) = server.index.add_many([NewObject(header.values, location.device, location.file)])
        if isinstance(result, Refused):
            # It may have been acknowledged, when its row was handed over.
            log.error("***No row names %s, which cannot be entered: %s", path, result)
            return
        self.entered += 1
        log.info("Entered a file that was stored when the server stopped: %s", path)
        if result.previous is not None and result.previous != other:
            # Stored again by a running worker just now: that one counts.
            for again in paths_of(server, result.previous):
                if again.is_file():
                    regenerate_file(server, again)
            server.storage.remove(location.device, location.file)
        elif result.previous is not None:
            server.storage.remove(result.previous.device, result.previous.file, but=path)

    def _outdated(self, path: Path, uid: str, other: Location | None, *, ours: bool) -> str:
        """Why a file is not to be entered in place of the one that the index names for its SOP instance, if any."""
        written_ns = path.stat().st_mtime_ns
        if self._deleted.get(uid, 0) >= written_ns:
            return "its object was deleted later"
        if other is None:
            return ""
        try:
            named = self._server.storage.locate(other.device, other.file)
        except MissingFile:
            return ""
        if written_ns <= named.stat().st_mtime_ns:
            return f"{named} holds its object and is later"
        if self._server.storage.settings.IgnoreRewrite or not ours:
            return f"{named} holds its object"
        return ""
