"""Configuration files as they lie on disk: read without losing a byte, noticed when changed, replaced whole."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

BOM = b"\xef\xbb\xbf"

# Modification time (ns), size and inode: a file that differs in none of them is taken to be unchanged.
Stamp = tuple[int, int, int]


def decode(raw: bytes) -> str:
    """Read bytes as UTF-8, or as Latin-1 when they are not UTF-8; never fails."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def encode(text: str, around: bytes) -> bytes:
    """Write `text` into a file that holds `around`, in the encoding that `decode` will read it back in.

    Latin-1 is kept in a file that is not UTF-8, where it cannot be mistaken. Raises ValueError for lone surrogates.
    """
    try:
        around.decode("utf-8")
    except UnicodeDecodeError:
        with contextlib.suppress(UnicodeEncodeError):
            raw = text.encode("latin-1")
            if decode(raw) == text:
                return raw
    return text.encode("utf-8")


def split_lines(data: bytes) -> list[bytes]:
    """Cut after every LF; line ends stay on, so that joining gives `data` back."""
    # Not splitlines: it also cuts at a lone CR, which is no line end here.
    *whole, last = data.split(b"\n")
    return [line + b"\n" for line in whole] + ([last] if last else [])


def body(line: bytes) -> bytes:
    """The line without its LF or CRLF."""
    return line.removesuffix(b"\n").removesuffix(b"\r")


def line_end(lines: list[bytes]) -> bytes:
    """The line end that new lines should have: that of the first line, else LF."""
    return b"\r\n" if lines and lines[0].endswith(b"\r\n") else b"\n"


def stamp(path: Path) -> Stamp | None:
    """What tells whether the file changed; None when it cannot be looked at."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def read_stamped(path: Path) -> tuple[bytes, Stamp]:
    """The content and the stamp that belongs to it; raises OSError."""
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        return file.read(), (found.st_mtime_ns, found.st_size, found.st_ino)


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` in place of the file at once: a reader, or a crash, finds the old content or the new one.

    The file keeps its mode and, behind a symbolic link, its place; a new one gets what the umask leaves of 0666.
    Raises OSError, and then the old file is untouched.
    """
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            with contextlib.suppress(FileNotFoundError):
                os.fchmod(file.fileno(), target.stat().st_mode & 0o7777)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(target.parent)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
