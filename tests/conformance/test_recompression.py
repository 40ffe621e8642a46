"""What is stored is brought under another code: devices by a job, files by option, and objects while they are sent."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dgate.__main__ import main
from storage.pool import CodecPool
from storage.transfer import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from tests.commands import ask, text_of
from tests.conformance.compressed import (
    J2K,
    J2K_LOSSY,
    LS,
    RLE,
    SV1,
    made_in,
    moved,
    seen,
    syntax_of,
    working,
)
from tests.conformance.conftest import Archive
from tests.conformance.dialogue import wait_until
from tests.objects import BASIC_TEXT_SR, ds, write
from tests.peers import dcmtk, needs_dcmtk, storescp
from tests.servers import dgate, program, started, write_ini, write_map
from tests.test_codecs.images import CT, by_program, native

pytestmark = needs_dcmtk


def finished(port: int, number: str) -> str:
    """The line of a job when it is over."""

    def line() -> str:
        return text_of(ask(port, f"jobs:{number}"))

    wait_until(lambda: line().split()[2] in ("done", "failed"))
    return line()


def rows(directory: Path) -> set[str]:
    """The files that the index names."""
    connection = sqlite3.connect(directory / "dbase" / "conquest.db3")
    found = {row[0] for row in connection.execute("SELECT ObjectFile FROM DICOMImages")}
    connection.close()
    return found


def syntaxes_in(directory: Path) -> set[str]:
    """The transfer syntaxes of stored files, while they may come and go."""
    found = set()
    for path in stored_by(directory):
        with contextlib.suppress(FileNotFoundError):
            found.add(syntax_of(path))
    return found


def stored_by(directory: Path) -> list[Path]:
    root = directory / "MAG0"
    return sorted(p for p in root.rglob("*.dcm") if "printer_files" not in p.parts)


def test_a_device_is_recompressed_by_a_job_beside_its_workers(tmp_path: Path) -> None:
    sent = [made_in(tmp_path / "sent", CT, PatientID="P", StudyInstanceUID="1.2.3") for _ in range(7)]
    report = write(tmp_path / "sent", ds(SOPClassUID=BASIC_TEXT_SR, Modality="SR", PatientID="P"))
    with program(tmp_path / "archive", Workers=2, ArchiveCompression="js") as running_server:
        directory, port = running_server.directory, running_server.port
        assert dcmtk("storescu", "-aec", "SRV", "localhost", port, *sent, report).code == 0
        before = stored_by(directory)
        for syntax, asked in ((SV1, "MAG0,j2"), (LS, "MAG0"), (EXPLICIT_LITTLE, "mag0,un")):
            number = text_of(ask(port, f"recompress:{asked}"))
            changed = finished(port, number)
            assert "7 recompressed, 1 left as they are, 0 failed" in changed, changed
            files = stored_by(directory)
            assert sorted(map(syntax_of, files)) == sorted([syntax] * 7 + [EXPLICIT_LITTLE])
            assert {str(path.relative_to(directory / "MAG0")) for path in files} == rows(directory)
        assert len(before) == 8
        assert ask(port, "recompress:MAG9,j2").payload is None
        got = tmp_path / "got"
        got.mkdir()
        keys = ("-k", "0008,0052=STUDY", "-k", "0020,000d=1.2.3")
        assert dcmtk("getscu", "-S", "+xs", "+B", "-aec", "SRV", "-od", got, *keys, "localhost", port).code == 0
        assert [syntax_of(path) for path in sorted(got.iterdir())] == [SV1] * 7
        assert np.array_equal(by_program(["dcmdjpeg"], next(got.iterdir()), tmp_path / "out"), CT.pixels())
        done = re.findall(r"(?:NKI|JPEG|JPEG2000|RLE|Downsize) [0-9]+", text_of(ask(port, "display_status:")))
        # 7 to JPEG, from that to JPEG-LS, from that back, and 7 for the C-GET.
        assert done == ["NKI 0", "JPEG 28", "JPEG2000 0", "RLE 0", "Downsize 0"]
    assert dgate(f"-w{directory}", "--fsck", directory=tmp_path).returncode == 0


def test_a_server_killed_in_the_middle_of_a_recompression_loses_nothing(tmp_path: Path) -> None:
    sent = [made_in(tmp_path / "sent", CT, PatientID="P", StudyInstanceUID="1.2.3") for _ in range(60)]
    uids = sorted(path.stem for path in sent)
    with program(tmp_path / "archive", Workers=0) as running_server:
        directory, port = running_server.directory, running_server.port
        assert dcmtk("storescu", "-aec", "SRV", "localhost", port, *sent).code == 0
        ask(port, "recompress:MAG0,jk")
        wait_until(lambda: J2K in syntaxes_in(directory))
        running_server.process.kill()
        running_server.process.wait()
    assert syntaxes_in(directory) == {EXPLICIT_LITTLE, J2K}
    with started(directory) as daemon:
        # What was interrupted is gone on with.
        assert "60 recompressed" not in finished(daemon.port, "1")
        assert syntaxes_in(directory) == {J2K}
        files = stored_by(directory)
        assert sorted(str(pydicom.dcmread(path).SOPInstanceUID) for path in files) == uids
        assert {str(path.relative_to(directory / "MAG0")) for path in files} == rows(directory)
        assert working(directory) == []
        assert np.array_equal(seen(files[0], tmp_path / "out"), CT.pixels())
    assert dgate(f"-w{directory}", "--fsck", directory=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("option", "syntax"),
    [
        ("-jc2{}", SV1),
        ("-jck{}", J2K),
        ("-j*jr{}", RLE),
        ("-j-jl15,{}", J2K_LOSSY),
        ("-nc4{}", IMPLICIT_LITTLE),
    ],
)
def test_one_shot_options_recompress_a_file_in_its_place(option: str, syntax: str, tmp_path: Path) -> None:
    write_ini(tmp_path / "archive")
    source = made_in(tmp_path, CT)
    first = source.read_bytes()

    def run(word: str) -> tuple[int, str]:
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            return main([f"-w{tmp_path / 'archive'}", word]), output.getvalue()

    assert run(option.format(source))[0] == 0
    if syntax == IMPLICIT_LITTLE:
        assert source.read_bytes()[128:132] != b"DICM"
        assert run(f"-nd{source}")[0] == 0
    else:
        assert syntax_of(source) == syntax
        assert run(f"-jd{source}")[0] == 0
    assert syntax_of(source) == EXPLICIT_LITTLE
    assert source.read_bytes() != first
    if syntax != J2K_LOSSY:
        assert np.array_equal(native(pydicom.dcmread(source)), CT.pixels())
        assert str(pydicom.dcmread(source).SOPInstanceUID) == source.stem
    status, said = run(f"-jd{source}")
    assert (status, said) == (1, f"{source} stays as it is: it is {EXPLICIT_LITTLE} already\n")


def test_a_one_shot_option_on_a_stored_file_keeps_the_index_right(tmp_path: Path) -> None:
    directory = tmp_path / "archive"
    write_ini(directory)
    source = made_in(tmp_path, CT)
    assert dgate(f"-w{directory}", f"-fa{source}", directory=tmp_path).returncode == 0
    (stored,) = stored_by(directory)
    assert dgate(f"-w{directory}", f"-j*jk{stored}", directory=tmp_path).returncode == 0
    (now,) = stored_by(directory)
    assert now != stored
    assert syntax_of(now) == J2K
    assert rows(directory) == {str(now.relative_to(directory / "MAG0"))}
    assert dgate(f"-w{directory}", "--fsck", directory=tmp_path).returncode == 0
    ran = dgate(f"-w{directory}", f"-j*zz{now}", directory=tmp_path)
    assert (ran.returncode, ran.stderr) == (
        1, b"dgate: zz is no compression code for pixels: docs/compression.md lists them\n",
    )  # fmt: skip


def test_the_first_object_leaves_before_the_last_is_decoded(tmp_path: Path) -> None:
    directory = tmp_path / "archive"
    directory.mkdir()
    with storescp(tmp_path / "sink", "+xi") as sink:
        write_map(directory, {"STORESCP": (sink.port, "as")})
        write_ini(directory)
        with started(directory) as daemon:
            archive = Archive(directory, daemon)
            one_series = {"PatientID": "P", "StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.1"}
            sent = [
                made_in(tmp_path / "sent", CT, "jk", **one_series, InstanceNumber=number) for number in range(1, 13)
            ]
            assert archive.store(*sent, options=("-xv",)).code == 0
            daemon.server.codecs.close()
            daemon.server.codecs = pool = CodecPool(2, seconds=20)
            pool.run(os.getpid)
            # Few are worked on at a time, so with both processes stopped some have arrived and some have not.
            mover = threading.Thread(target=moved, args=(archive, "1.2.3"))
            mover.start()
            wait_until(lambda: len(sink.received()) > 0)
            for worker in pool.worker_ids():
                os.kill(worker, signal.SIGSTOP)
            some = len(sink.received())
            for worker in pool.worker_ids():
                os.kill(worker, signal.SIGCONT)
            mover.join()
            assert 0 < some <= 12
            assert len(sink.received()) == 12
            order = sorted(sink.received(), key=lambda path: path.stat().st_mtime_ns)
            assert [str(pydicom.dcmread(path).InstanceNumber) for path in order] == list(map(str, range(1, 13)))
        assert working(directory) == []
