"""Configuration options: dicom.ini, acrnema.map, dgatesop.lst, the dictionary and the database layout."""

from __future__ import annotations

from dgate.arguments import TEXT, Filled, Index, Printf
from dgate.command import CommandError, command
from dgate.config import ConfigurationError
from server.amap import AeEntry
from server.server import Server
from server.soplist import Kind

GROUP = "Configuration options"

_AMAP = Printf("%-17s %-30s %-10s %-16s")
_AMAP_LINE = Printf("%-17s %-30s %-10s %-16s\n")
_PAIR = Printf("%s %s")
_DIC = Printf("%04x %04x %c%c %s")
_SQLDEF = Printf("0x%4.4x, 0x%4.4x %20s %4d %10s %12s")
# What ConQuest calls the types of dicom.sql when it lists them.
DICOM_TYPES = {
    "DT_DATE": "DT_DATE (DA)",
    "DT_UINT16": "DT_UINT16 (US)",
    "DT_UINT32": "DT_UINT32 (UL)",
    "DT_UI": "DT_UI (UI)",
    "DT_FL": "DT_FL (FL)",
    "DT_FD": "DT_FD (FD)",
    "DT_STARTSEQUENCE": "Start sequence",
    "DT_ENDSEQUENCE": "End sequence",
}


@command("get_param:name,fmt", group=GROUP, rights="read")
def get_param(server: Server, name: Filled, fmt: Printf = TEXT) -> str | None:
    """Read any parameter from DICOM.INI.

    The value in the main section, printed through `fmt`; no reply when the file does not set it. The database
    password is not told.
    """
    value = None if name.lower() == "password" else server.ini.get(name)
    return None if value is None else fmt % value


@command("get_ini_param:name,fmt", group=GROUP, rights="read")
def get_ini_param(server: Server, name: Filled, fmt: Printf = TEXT) -> str | None:
    """Read any parameter from DICOM.INI.

    The same as `get_param`.
    """
    return get_param(server, name, fmt)


@command("get_ini_num:index,fmt", group=GROUP)
def get_ini_num(server: Server, index: Index, fmt: Printf = TEXT) -> str | None:
    """List any entry from DICOM.INI.

    Line `index` of the file, from 0, with its line end; no reply past the end.
    """
    lines = server.ini.lines()
    return fmt % lines[index] if index < len(lines) else None


@command("get_ini:fmt", group=GROUP)
def get_ini(server: Server, fmt: Printf = TEXT) -> str:
    """List all entries from DICOM.INI.

    Every line with its line end, each through `fmt`.
    """
    return "".join(fmt % line for line in server.ini.lines())


@command("put_param:name,value", group=GROUP)
def put_param(server: Server, name: Filled, value: str) -> None:
    """Write any parameter to DICOM.INI.

    Every line of the main section that sets `name` is replaced; a new name is added to that section. `--read_ini:`
    makes the server use it.
    """
    server.ini.put(name, value)


@command("delete_param:name", group=GROUP)
def delete_param(server: Server, name: Filled) -> None:
    """Delete any parameter from DICOM.INI.

    Every line of the main section that sets `name` is removed.
    """
    server.ini.delete(name)


@command("read_ini:", group=GROUP)
def read_ini(server: Server) -> None:
    """Re-read all parameters from DICOM.INI.

    Devices, database, file names and the port stay as they were when the server started. When a value is bad the
    settings in force stay.
    """
    try:
        server.reload(server)
    except ConfigurationError as error:
        raise CommandError(str(error)) from error


def _amap_values(entry: AeEntry) -> tuple[str, ...]:
    return (entry.ae, entry.address, entry.port, entry.compression) * 3


@command("get_amap:index,fmt", group=GROUP, rights="read")
def get_amap(server: Server, index: Index, fmt: Printf = _AMAP) -> str | None:
    """List any entry from ACRNEMA.MAP.

    AE title, address, port and compression of entry `index`, from 0; no reply past the end.
    """
    entries = server.amap.entries
    return fmt % _amap_values(entries[index]) if index < len(entries) else None


@command("get_amaps:fmt", group=GROUP, rights="read")
def get_amaps(server: Server, fmt: Printf = _AMAP_LINE) -> str:
    """List all entries from ACRNEMA.MAP.

    Entries with a ``*`` in their AE title are left out. No line end is added to a `fmt` of your own.
    """
    return "".join(fmt % _amap_values(entry) for entry in server.amap.entries if "*" not in entry.ae)


@command("put_amap:i,AE,ip,p#,cmp", group=GROUP)
def put_amap(server: Server, i: Index, AE: str = "", ip: str = "", p: str = "", cmp: str = "") -> None:
    """Write entry in memory for ACRNEMA.MAP.

    Changes entry `i` or, past the end, adds one; empty fields keep their value. `--write_amap:` writes the file.
    """
    server.amap.put(i, AE, ip, p, cmp)


@command("delete_amap:index", group=GROUP)
def delete_amap(server: Server, index: Index) -> None:
    """Delete entry in memory for ACRNEMA.MAP.

    `--write_amap:` writes the file.
    """
    if not server.amap.delete(index):
        raise CommandError(f"acrnema.map has no entry {index}")


@command("write_amap:", group=GROUP)
def write_amap(server: Server) -> None:
    """Write ACRNEMA.MAP from memory to disk.

    Comments and lines that were not changed stay as they are.
    """
    server.amap.write()


@command("read_amap:", group=GROUP)
def read_amap(server: Server) -> None:
    """Re-read ACRNEMA.MAP from disk to memory.

    What `put_amap` and `delete_amap` changed since the last `write_amap` is lost.
    """
    server.amap.read()


def _get(server: Server, kind: Kind, index: int, fmt: Printf) -> str | None:
    server.sops.refresh()
    entries = server.sops.entries(kind)
    return fmt % (entries[index].uid, entries[index].name) if index < len(entries) else None


def _delete(server: Server, kind: Kind, index: int) -> None:
    if not server.sops.delete(kind, index):
        raise CommandError(f"dgatesop.lst has no {kind} entry {index}")


@command("get_sop:index,fmt", group=GROUP, rights="read")
def get_sop(server: Server, index: Index, fmt: Printf = _PAIR) -> str | None:
    """List any accepted service class UID.

    UID and name; no reply past the end. An empty list accepts every class.
    """
    return _get(server, "sop", index, fmt)


@command("put_sop:index,UID,name", group=GROUP)
def put_sop(server: Server, index: Index, UID: Filled, name: str = "") -> None:
    """Write/add accepted service class UID.

    Sets entry `index` or, past the end, adds one, and rewrites dgatesop.lst. Counts from the next association on.
    """
    server.sops.put("sop", index, UID, name)


@command("delete_sop:index", group=GROUP)
def delete_sop(server: Server, index: Index) -> None:
    """Delete accepted service class UID.

    Rewrites dgatesop.lst; deleting the last one makes every class accepted.
    """
    _delete(server, "sop", index)


@command("get_transfer:index,fmt", group=GROUP, rights="read")
def get_transfer(server: Server, index: Index, fmt: Printf = _PAIR) -> str | None:
    """List any accepted transfer syntax.

    As `get_sop`.
    """
    return _get(server, "transfer", index, fmt)


@command("put_transfer:index,UID,name", group=GROUP)
def put_transfer(server: Server, index: Index, UID: Filled, name: str = "") -> None:
    """Write/add accepted transfer syntax.

    As `put_sop`.
    """
    server.sops.put("transfer", index, UID, name)


@command("delete_transfer:index", group=GROUP)
def delete_transfer(server: Server, index: Index) -> None:
    """Delete accepted transfer syntax.

    As `delete_sop`.
    """
    _delete(server, "transfer", index)


@command("get_application:idx,fmt", group=GROUP, rights="read")
def get_application(server: Server, idx: Index, fmt: Printf = _PAIR) -> str | None:
    """List any accepted application UID.

    As `get_sop`.
    """
    return _get(server, "application", idx, fmt)


@command("put_application:i,U,n", group=GROUP)
def put_application(server: Server, i: Index, U: Filled, n: str = "") -> None:
    """Write/add accepted application UID.

    As `put_sop`.
    """
    server.sops.put("application", i, U, n)


@command("delete_application:index", group=GROUP)
def delete_application(server: Server, index: Index) -> None:
    """Delete accepted application UID.

    As `delete_sop`.
    """
    _delete(server, "application", index)


@command("get_localae:index,fmt", group=GROUP, rights="read")
def get_localae(server: Server, index: Index, fmt: Printf = _PAIR) -> str | None:
    """List any accepted local AE title.

    As `get_sop`; an empty list accepts every called AE title.
    """
    return _get(server, "LocalAE", index, fmt)


@command("put_localae:index,AE,name", group=GROUP)
def put_localae(server: Server, index: Index, AE: Filled, name: str = "") -> None:
    """Write/add accepted local AE title.

    As `put_sop`.
    """
    server.sops.put("LocalAE", index, AE, name)


@command("delete_localae:index", group=GROUP)
def delete_localae(server: Server, index: Index) -> None:
    """Delete accepted local AE title.

    As `delete_sop`.
    """
    _delete(server, "LocalAE", index)


@command("get_remoteae:index,fmt", group=GROUP, rights="read")
def get_remoteae(server: Server, index: Index, fmt: Printf = _PAIR) -> str | None:
    """List any accepted remote AE title.

    As `get_sop`; an empty list accepts every calling AE title.
    """
    return _get(server, "RemoteAE", index, fmt)


@command("put_remoteae:index,AE,name", group=GROUP)
def put_remoteae(server: Server, index: Index, AE: Filled, name: str = "") -> None:
    """Write/add accepted remote AE title.

    As `put_sop`.
    """
    server.sops.put("RemoteAE", index, AE, name)


@command("delete_remoteae:index", group=GROUP)
def delete_remoteae(server: Server, index: Index) -> None:
    """Delete accepted remote AE title.

    As `delete_sop`.
    """
    _delete(server, "RemoteAE", index)


@command("get_dic:index,fmt", group=GROUP, rights="read")
def get_dic(server: Server, index: Index, fmt: Printf = _DIC) -> str | None:
    """List any dicom dictionary item.

    Group, element, the two characters of the VR, and keyword of entry `index` in order of tag; no reply past the end.
    """
    entry = server.dictionary.entry(index)
    if entry is None:
        return None
    return fmt % (entry.tag >> 16, entry.tag & 0xFFFF, entry.vr[:1], entry.vr[1:2], entry.keyword)


@command("get_sqldef:level,index,fmt", group=GROUP, rights="read")
def get_sqldef(server: Server, level: Filled, index: Index, fmt: Printf = _SQLDEF) -> str | None:
    """List any database field definition.

    `level` is patient, study, series, image or worklist; group, element, column name, length, SQL type and DICOM
    type of entry `index`; no reply past the end.
    """
    table = server.index.schema.tables.get(level.upper())
    if table is None or index >= len(table.entries):
        return None
    entry = table.entries[index]
    tag = entry.path[-1]
    kind = DICOM_TYPES.get(entry.dicom_type, entry.dicom_type)
    return fmt % (tag >> 16, tag & 0xFFFF, entry.name, entry.length, entry.sql_type, kind)
