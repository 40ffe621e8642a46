"""ConQuest's one-shot actions: do one thing to the base directory, print, exit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from db.schema import PATIENT_ID, SERIES_UID, SOP_INSTANCE, STUDY_UID, Schema, TagPath
from dgate.app import build
from dgate.arguments import DroppedFile, Key, ServerFile
from dgate.command import CommandError
from dgate.commandline import Invocation, Mode
from dgate.commands.communication import addimagefile
from dgate.commands.configuration import DICOM_TYPES
from dgate.commands.delete import deleteimagefile, deleteimagefromdb, deletepatient
from dgate.commands.maintenance import device_root, directory_on, enter_stored_file
from dgate.serve import add_logs
from dgate.starting import Failed, configuration, told
from server.authority import Caller
from server.log import LOG
from server.pipeline.delete import delete, select
from server.pipeline.recompress import recompress_file
from server.pipeline.reconcile import leave_clean
from server.pipeline.regen import Regenerated, regenerate
from server.server import Server
from storage.codecs.table import parse_code
from storage.header import read_header
from storage.part10 import read_object_file

Action = Callable[[Server, str], int]
ACTIONS: dict[Mode, Action] = {}

# What only looks may run beside a server; everything else claims the devices first.
_LOOKS = {
    Mode.LIST_DEVICES, Mode.LIST_AES, Mode.LIST_SCHEMA, Mode.TEST_CONSOLE, Mode.SHOW_FILE_UID, Mode.NEW_UID,
}  # fmt: skip


def action(mode: Mode) -> Callable[[Action], Action]:
    """Declare what a one-shot option of the command line table does; it returns the exit status."""

    def register(function: Action) -> Action:
        ACTIONS[mode] = function
        return function

    return register


def run(invocation: Invocation) -> int:
    """Run a one-shot action; 0 when it did what was asked, 1 with a line on standard error when it did not."""
    try:
        with told():
            server = build(configuration(invocation), uid_offset=invocation.uid_offset)
            with _opened(server, invocation):
                return ACTIONS[invocation.mode](server, invocation.argument)
    except Failed as failed:
        return failed.status


@contextmanager
def _opened(server: Server, invocation: Invocation) -> Iterator[None]:
    looks = invocation.mode in _LOOKS
    locks = None if looks else server.storage.lock()
    touched = server.storage.touched
    # What a crash left to be looked at is left to the next start of the server.
    clean = not looks and not any(touched.noted(device) for device in server.storage.devices)
    try:
        add_logs(server.logs, invocation, default="")
        if not looks:
            server.logs.open(server.settings.TroubleLog, server.settings.UserLog)
            if invocation.mode not in (Mode.INITIALISE, Mode.REGEN):
                server.index.ensure_tables()
        yield
    finally:
        server.storage.close()
        server.index.close()
        if clean:
            leave_clean(server)
        server.logs.close()
        if locks is not None:
            locks.close()


@action(Mode.INITIALISE)
def initialise(server: Server, mode: str) -> int:
    for line in server.index.create_tables(int(mode or 0), drop=True):
        print(line)
    return 0


@action(Mode.REGEN)
def regen(server: Server, mode: str) -> int:
    print("Regen Database")
    print("Step 1: Re-intialize SQL Tables")
    for line in server.index.create_tables(int(mode or 0), drop=True):
        print(line)
    print("Step 2: Load / Add DICOM Object files")
    for device in server.storage.devices:
        print(f"Regen Device '{device.name}'")
    return _regenerated(server, [device.root for device in server.storage.devices])


@action(Mode.REGEN_DEVICE)
def regen_device(server: Server, argument: str) -> int:
    device, comma, _ = argument.partition(",")
    if comma:
        return regen_directory(server, argument)
    print(f"Regen Device '{device}'")
    return _regenerated(server, [device_root(server, device)])


@action(Mode.REGEN_DIRECTORY)
def regen_directory(server: Server, argument: str) -> int:
    device, _, directory = argument.partition(",")
    print(f"Regen Device '{device}', directory '{directory}'")
    return _regenerated(server, [directory_on(server, device, directory)])


def _regenerated(server: Server, directories: list[Path]) -> int:
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("files", total=None)
        result: Regenerated = regenerate(
            server, directories, lambda done, total: bar.update(task, completed=done, total=total)
        )
    print(f"{result.entered} files entered, {result.failed} failed")
    if result.failed:
        print(f"{server.base / server.settings.TroubleLog} names the files that failed")
    print("Regeneration Complete")
    return 1 if result.failed and not result.entered else 0


@action(Mode.LIST_DEVICES)
def list_devices(server: Server, argument: str) -> int:
    print("** MAG DEVICE CHECK\n")
    for number, space in enumerate(server.storage.space()):
        print(f"Free space on MAG   Device {number} := {space.free_mb} MByte")
    return 0


@action(Mode.LIST_AES)
def list_aes(server: Server, argument: str) -> int:
    print("**\tAE / IP-PORT Map dump\n")
    for entry in server.amap.entries:
        print(f"{entry.ae:<17} {entry.address:<30} {entry.port:<10} {entry.compression:<16}")
    return 0


@action(Mode.LIST_SCHEMA)
def list_schema(server: Server, argument: str) -> int:
    print("**\tDatabase Description dump\n")
    print(_described(server.index.schema), end="")
    return 0


def _described(schema: Schema) -> str:
    lines = []
    names = {"PATIENT": "Patient", "STUDY": "Study", "SERIES": "Series", "IMAGE": "Image", "WORKLIST": "WorkList"}
    for level, table in schema.tables.items():
        lines.append(f"--{names[level]} Database: {table.name}")
        for entry in table.entries:
            group, element = entry.path[-1] >> 16, entry.path[-1] & 0xFFFF
            kind = DICOM_TYPES.get(entry.dicom_type, entry.dicom_type)
            lines.append(
                f"0x{group:04x},0x{element:04x} {entry.name:>11} {entry.length:5d}  {entry.sql_type:<19} "
                f"{kind:<14} {entry.hl7}".rstrip()
            )
        lines.append("")
    return "".join(f"{line}\n" for line in lines)


@action(Mode.TEST_CONSOLE)
def test_console(server: Server, argument: str) -> int:
    LOG.info("This is a test of the operator console")
    print("Wrote a line to every log of this command line")
    return 0


@action(Mode.TEST_DATABASE)
def test_database(server: Server, argument: str) -> int:
    for number in range(1, 11):
        for step in server.index.self_test():
            print(f"{number:2d}: {step}")
    return 0


@action(Mode.ZAP_PATIENT)
def zap_patient(server: Server, patient: str) -> int:
    deletepatient(server, Key(patient.strip()))
    return 0


@action(Mode.DELETE_FILE_ROWS)
def delete_file_rows(server: Server, file: str) -> int:
    deleteimagefromdb(server, ServerFile(file, _here(file)))
    return 0


@action(Mode.ZAP_FILE)
def zap_file(server: Server, file: str) -> int:
    deleteimagefile(server, ServerFile(file, _here(file)))
    return 0


@action(Mode.ADD_FILE)
def add_file(server: Server, argument: str) -> int:
    end = DroppedFile.end(argument)
    file, patient = (argument, "") if end < 0 else (argument[:end], argument[end + 1 :])
    caller = Caller("127.0.0.1", server.ae_title, server.ae_title, "admin")
    if addimagefile(server, DroppedFile(file, _here(file)), patient, caller=caller, upload=None) != "0":
        raise CommandError(f"{file} was not entered: {server.base / server.settings.TroubleLog} says why")
    return 0


def _here(file: str) -> Path:
    """A file as whoever typed it means it: relative to where he is, not to the base directory."""
    return Path(file).absolute()


@action(Mode.DELETE_PATIENT_ROWS)
def delete_patient_rows(server: Server, patient: str) -> int:
    return _delete_rows(server, {PATIENT_ID: patient})


@action(Mode.DELETE_STUDY_ROWS)
def delete_study_rows(server: Server, argument: str) -> int:
    return _delete_rows(server, _keys(argument, STUDY_UID))


@action(Mode.DELETE_SERIES_ROWS)
def delete_series_rows(server: Server, argument: str) -> int:
    return _delete_rows(server, _keys(argument, SERIES_UID))


@action(Mode.DELETE_IMAGE_ROWS)
def delete_image_rows(server: Server, argument: str) -> int:
    return _delete_rows(server, _keys(argument, SOP_INSTANCE))


def _keys(argument: str, path: TagPath) -> dict[TagPath, str]:
    patient, _, uid = argument.rpartition(":")
    return {path: uid.strip(), PATIENT_ID: patient.strip()} if patient.strip() else {path: uid.strip()}


def _delete_rows(server: Server, keys: Mapping[TagPath, str]) -> int:
    count = delete(server, select(server, keys), files=False)
    print(f"{count} images taken out of the database; their files stay")
    return 0


@action(Mode.ENTER_FILE)
def enter_file(server: Server, file: str) -> int:
    enter_stored_file(server, _here(file))
    return 0


@action(Mode.NKI_DECOMPRESS)
def nki_decompress(server: Server, file: str) -> int:
    return _recompressed(server, "uj", file)


@action(Mode.NKI_COMPRESS)
def nki_compress(server: Server, argument: str) -> int:
    return _recompressed(server, f"n{argument[:1]}", argument[1:])


@action(Mode.JPEG_DECOMPRESS)
def jpeg_decompress(server: Server, file: str) -> int:
    return _recompressed(server, "un", file)


@action(Mode.JPEG_COMPRESS)
def jpeg_compress(server: Server, argument: str) -> int:
    return _recompressed(server, f"j{argument[:1]}", argument[1:])


@action(Mode.RECOMPRESS)
def recompress(server: Server, argument: str) -> int:
    return _recompressed(server, argument[:2], argument[2:])


@action(Mode.RECOMPRESS_TO)
def recompress_to(server: Server, argument: str) -> int:
    # A code may hold a comma (j#F,C), and a name may too: the code is as long as it can be read as one.
    parts = argument.split(",")
    for number in range(len(parts) - 1, 0, -1):
        if parse_code(",".join(parts[:number])).known:
            return _recompressed(server, ",".join(parts[:number]), ",".join(parts[number:]))
    return _recompressed(server, parts[0], ",".join(parts[1:]))


def _recompressed(server: Server, code: str, file: str) -> int:
    """Bring a file under a code, in its place; 1 when it stays as it is, with the reason."""
    known = parse_code(code)
    if not known.known or known.codec.code in ("s", "v"):
        raise CommandError(f"{code} is no compression code for pixels: docs/compression.md lists them")
    if not file.strip():
        raise CommandError(f"code {code} is followed by the name of a file")
    with server.codecs:
        why = recompress_file(server, _here(file), code)
    if why:
        print(f"{file} stays as it is: {why}")
        return 1
    print(f"{file} is recompressed to {code}")
    return 0


@action(Mode.SHOW_FILE_UID)
def show_file_uid(server: Server, file: str) -> int:
    path = Path(file)
    found = read_object_file(path)
    with path.open("rb") as source:
        source.seek(found.offset)
        print(read_header(source, found.transfer_syntax, [SOP_INSTANCE]).text(*SOP_INSTANCE))
    return 0


@action(Mode.NEW_UID)
def new_uid(server: Server, argument: str) -> int:
    print(server.new_uid())
    return 0
