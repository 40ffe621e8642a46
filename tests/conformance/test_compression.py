"""Compression codes through the front door: on the way in and out, and when codecs fail."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dgate.__main__ import main
from storage.codecs.source import NKI, open_pixels
from storage.pool import CodecPool
from storage.transfer import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from tests.conformance.compressed import (
    BASELINE,
    EXTENDED,
    GREY,
    HTJ2K,
    J2K,
    J2K_LOSSY,
    LS,
    NEAR,
    PROGRESSIVE,
    RLE,
    SV1,
    made_in,
    moved,
    off,
    seen,
    syntax_of,
    working,
)
from tests.conformance.conftest import Archive
from tests.conformance.processes import alive
from tests.objects import BASIC_TEXT_SR, ds, write
from tests.peers import StoreScp, dcmtk, needs_dcmtk, storescp
from tests.servers import started, write_ini, write_map
from tests.test_codecs.images import CT, RGB, Kind, decoded, native

pytestmark = needs_dcmtk

# What a code makes of 12 bits, and of 8.
MADE = {
    "as": (EXPLICIT_LITTLE, EXPLICIT_LITTLE),
    "un": (EXPLICIT_LITTLE, EXPLICIT_LITTLE),
    "j1": (SV1, SV1),
    "j2": (SV1, SV1),
    "j3": (EXTENDED, BASELINE),
    "j460": (EXTENDED, BASELINE),
    "j5": (EXTENDED, PROGRESSIVE),
    "j6": (EXTENDED, PROGRESSIVE),
    "j7": (NEAR, NEAR),
    "js": (LS, LS),
    "jk": (J2K, J2K),
    "jl10": (J2K_LOSSY, J2K_LOSSY),
    "jh": (HTJ2K, HTJ2K),
    "jr": (RLE, RLE),
    "ja": (SV1, SV1),
    "ud": (DEFLATED, DEFLATED),
    "k8": (EXPLICIT_LITTLE, EXPLICIT_LITTLE),
    "s1": (EXPLICIT_LITTLE, EXPLICIT_LITTLE),
    "xx": (EXPLICIT_LITTLE, EXPLICIT_LITTLE),
}
LOSSY = {"j3", "j460", "j5", "j6", "j7", "jl10"}
STUDIES = {"1.2.12": CT, "1.2.8": GREY, "1.2.24": RGB}


@pytest.fixture(scope="module")
def sinks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, StoreScp]]:
    """Receivers that take everything, and those that take little."""
    directory = tmp_path_factory.mktemp("sinks")
    with (
        storescp(directory / "all") as takes_all,
        storescp(directory / "implicit", "+xi", ae="IMPLICIT") as implicit,
        storescp(directory / "lossless", "+xs", ae="LOSSLESS") as lossless,
    ):
        yield {"STORESCP": takes_all, "IMPLICIT": implicit, "LOSSLESS": lossless}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, sinks: dict[str, StoreScp]) -> Iterator[Archive]:
    """A server with a study of each kind, stored uncompressed, and one each as JPEG 2000 and JPEG."""
    directory = tmp_path_factory.mktemp("site") / "archive"
    directory.mkdir()
    destinations = {ae: (sink.port, "as") for ae, sink in sinks.items()}
    write_map(directory, destinations | {"MAPPED": (sinks["STORESCP"].port, "jk")})
    write_ini(directory)
    with started(directory) as daemon:
        archive = Archive(directory, daemon)
        paths = [made_in(directory / "sent", kind, StudyInstanceUID=uid) for uid, kind in STUDIES.items()]
        paths.append(made_in(directory / "sent", CT, "jk", StudyInstanceUID="1.2.90"))
        assert archive.store(*paths[:3]).code == 0
        assert archive.store(paths[3], options=("-xv",)).code == 0
        yield archive


@contextmanager
def emptied(sink: StoreScp) -> Iterator[None]:
    for path in sink.received():
        path.unlink()
    yield


@pytest.mark.parametrize("code", MADE)
@pytest.mark.parametrize("study", ["1.2.12", "1.2.8"])
def test_a_move_sends_what_its_code_asks_for(
    site: Archive, sinks: dict[str, StoreScp], tmp_path: Path, code: str, study: str
) -> None:
    kind = STUDIES[study]
    with emptied(sinks["STORESCP"]):
        status, output = moved(site, study, code)
    assert status == 0, output
    (path,) = sinks["STORESCP"].received()
    # DCMTK 3.6 takes neither HTJ2K nor progressive JPEG.
    refused = {HTJ2K: EXPLICIT_LITTLE, PROGRESSIVE: SV1}
    syntax = MADE[code][kind is GREY]
    assert syntax_of(path) == refused.get(syntax, syntax)
    pixels = seen(path, tmp_path / "out").astype(np.int64)
    if code == "k8":
        assert pixels.shape[1:3] == (96, 120)
    if code in LOSSY and syntax not in refused:
        assert off(pixels, kind) < 0.02
        assert pydicom.dcmread(path).LossyImageCompression == "01"
    else:
        assert np.array_equal(pixels, kind.pixels())
    made = pydicom.dcmread(path)
    assert made.SOPInstanceUID == made.file_meta.MediaStorageSOPInstanceUID


def test_a_code_of_conquest_itself_reaches_its_destination(site: Archive, sinks: dict[str, StoreScp]) -> None:
    with emptied(sinks["STORESCP"]):
        assert moved(site, "1.2.12", "n4")[0] == 0
    (path,) = sinks["STORESCP"].received()
    assert syntax_of(path) == IMPLICIT_LITTLE
    with open_pixels(path) as stored:
        assert (stored.transfer_syntax, stored.nki_mode) == (NKI, 4)
    assert np.array_equal(decoded(path), CT.pixels())


def test_downsizing_halves_until_it_fits(site: Archive, sinks: dict[str, StoreScp]) -> None:
    with emptied(sinks["STORESCP"]):
        assert moved(site, "1.2.12", "ka")[0] == 0
    (path,) = sinks["STORESCP"].received()
    assert np.array_equal(decoded(path), CT.pixels()[:, ::2, ::2])


def test_the_last_column_of_the_map_is_the_code_of_a_destination(site: Archive, sinks: dict[str, StoreScp]) -> None:
    with emptied(sinks["STORESCP"]):
        assert moved(site, "1.2.12", to="MAPPED")[0] == 0
    assert [syntax_of(path) for path in sinks["STORESCP"].received()] == [J2K]


@pytest.mark.parametrize(
    ("to", "code", "study", "syntax"),
    [
        ("IMPLICIT", "", "1.2.90", IMPLICIT_LITTLE),
        ("IMPLICIT", "j2", "1.2.90", IMPLICIT_LITTLE),
        ("LOSSLESS", "jk", "1.2.90", EXPLICIT_LITTLE),
        ("LOSSLESS", "j2", "1.2.90", SV1),
        ("LOSSLESS", "j1", "1.2.12", SV1),
        ("STORESCP", "", "1.2.90", J2K),
        ("STORESCP", "un", "1.2.90", EXPLICIT_LITTLE),
        ("STORESCP", "uj", "1.2.90", J2K),
    ],
)
def test_what_a_receiver_does_not_take_is_brought_into_what_it_takes(
    site: Archive, sinks: dict[str, StoreScp], tmp_path: Path, to: str, code: str, study: str, syntax: str
) -> None:
    with emptied(sinks[to]):
        status, output = moved(site, study, code, to)
    assert status == 0, output
    (path,) = sinks[to].received()
    assert syntax_of(path) == syntax
    assert np.array_equal(seen(path, tmp_path / "out"), CT.pixels())


@pytest.mark.parametrize(
    ("option", "study", "syntax"),
    [
        ("+xe", "1.2.90", EXPLICIT_LITTLE),
        ("+xb", "1.2.90", EXPLICIT_BIG),
        ("+xi", "1.2.90", EXPLICIT_LITTLE),  # for which DCMTK 3.6 proposes explicit little endian
        ("+xs", "1.2.12", SV1),
        ("+xs", "1.2.90", SV1),
        ("+xy", "1.2.8", BASELINE),
        ("+xx", "1.2.12", EXTENDED),
        ("+xv", "1.2.12", J2K),
        ("+xv", "1.2.90", J2K),
        ("+xw", "1.2.12", J2K_LOSSY),
        ("+xt", "1.2.12", LS),
        ("+xu", "1.2.12", NEAR),
        ("+xr", "1.2.12", RLE),
        ("+xd", "1.2.90", DEFLATED),
        ("+xy", "1.2.12", None),
        ("+xx", "1.2.8", None),
        ("+xm", "1.2.12", None),
        ("+x5", "1.2.90", None),
    ],
)
def test_a_get_brings_what_its_requestor_prefers(
    site: Archive, tmp_path: Path, option: str, study: str, syntax: str | None
) -> None:
    got = tmp_path / "got"
    got.mkdir()
    keys = ("-k", "0008,0052=STUDY", "-k", f"0020,000d={study}")
    ran = dcmtk("getscu", "-v", "-S", option, "+B", "-aec", "SRV", "-od", got, *keys, "localhost", site.port)
    received = sorted(got.iterdir())
    if syntax is None:
        assert received == []
        assert "Number of Failed Suboperations    : 1" in ran.output, ran.output
        return
    assert ran.code == 0, ran.output
    assert [syntax_of(path) for path in received] == [syntax]
    kind = STUDIES.get(study, CT)
    if syntax in (BASELINE, EXTENDED, J2K_LOSSY, NEAR):
        assert off(decoded(received[0]), kind) < 0.02
    elif syntax == EXPLICIT_BIG:
        assert np.array_equal(decoded(received[0]), kind.pixels())
    else:
        assert np.array_equal(seen(received[0], tmp_path / "out"), kind.pixels())


@pytest.mark.parametrize("code", [*MADE, "n4"])
def test_what_arrives_is_brought_under_the_code_asked_for(code: str, tmp_path: Path) -> None:
    write_ini(tmp_path / "archive")
    sent = [made_in(tmp_path / "sent", kind, PatientID=kind.name) for kind in (CT, GREY)]
    with started(tmp_path / "archive") as daemon:
        archive = Archive(tmp_path / "archive", daemon)
        ran = dcmtk("storescu", "-v", "-aec", f"SRV~{code}", "localhost", daemon.port, *sent)
        assert ran.code == 0, ran.output
        files = {str(pydicom.dcmread(path).SOPInstanceUID): path for path in archive.files()}
        assert sorted(files) == sorted(path.stem for path in sent)
        for path, kind, syntax in zip(sent, (CT, GREY), MADE.get(code, (EXPLICIT_LITTLE,) * 2), strict=True):
            stored = files[path.stem]
            assert syntax_of(stored) == syntax
            if syntax == EXPLICIT_LITTLE:  # byte for byte
                assert stored.read_bytes()[-kind.pixels().nbytes :] == kind.pixels().tobytes()
            elif code not in LOSSY:
                assert np.array_equal(seen(stored, tmp_path / "out"), kind.pixels())
        assert working(tmp_path / "archive") == []
    assert main([f"-w{tmp_path / 'archive'}", "--fsck"]) == 0


@pytest.mark.parametrize(("allowed", "syntax"), [(1, IMPLICIT_LITTLE), (0, EXPLICIT_LITTLE)])
def test_compression_of_conquest_itself_is_kept_where_dicom_ini_lets_it(
    allowed: int, syntax: str, tmp_path: Path
) -> None:
    directory = tmp_path / "archive"
    directory.mkdir()
    with storescp(tmp_path / "sink") as sink:
        write_map(directory, {"STORESCP": (sink.port, "as")})
        write_ini(directory, AllowNKIAsDICOM=allowed, FileCompressMode=4)
        with started(directory) as daemon:
            archive = Archive(directory, daemon)
            assert archive.store(made_in(tmp_path / "sent", CT, StudyInstanceUID="1.2.3")).code == 0
            (stored,) = archive.files()
            assert syntax_of(stored) == syntax
            assert (b"\xdf\x7f\x10\x00" in stored.read_bytes()) == bool(allowed)


@pytest.mark.parametrize("names", ["0", "3"])
def test_files_of_conquests_own_compression_go_out_uncompressed(names: str, tmp_path: Path) -> None:
    directory = tmp_path / "archive"
    directory.mkdir()
    with storescp(tmp_path / "sink") as sink:
        write_map(directory, {"STORESCP": (sink.port, "as")})
        write_ini(directory, FileNameSyntax=names, IncomingCompression="n4")
        with started(directory) as daemon:
            archive = Archive(directory, daemon)
            assert archive.store(made_in(tmp_path / "sent", CT, StudyInstanceUID="1.2.3"), options=("-xi",)).code == 0
            (stored,) = archive.files()
            assert (stored.suffix == ".v2") == (b"\xdf\x7f\x10\x00" in stored.read_bytes())
            assert moved(archive, "1.2.3")[0] == 0
        (path,) = sink.received()
        assert np.array_equal(native(pydicom.dcmread(path)), CT.pixels())


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (ds(SOPClassUID=BASIC_TEXT_SR, Modality="SR"), "it has no pixel data"),
        (Kind("SR", 8).made(Modality="SR"), "modality SR is not compressed"),
        (Kind("6 bits", 6).made(), "JPEG is for 8 bits and more, not 6"),
    ],
    ids=["without image", "of a modality", "of few bits"],
)
def test_what_does_not_fit_is_kept_as_received_and_said(
    made: Dataset, why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_ini(tmp_path / "archive", IncomingCompression="j2")
    with started(tmp_path / "archive") as daemon:
        archive = Archive(tmp_path / "archive", daemon)
        path = write(tmp_path / "sent", made)
        assert archive.store(path).code == 0
        (stored,) = archive.files()
        assert stored.read_bytes()[-200:] == path.read_bytes()[-200:]
        assert syntax_of(stored) == EXPLICIT_LITTLE
    assert f"kept as received ({EXPLICIT_LITTLE}): {why}" in caplog.text


def damaged(directory: Path, **keywords: object) -> Path:
    """A JPEG 2000 object whose stream ends in the middle of its header."""
    path = made_in(directory, CT, "jk", **keywords)
    made = pydicom.dcmread(path)
    made.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + bytes(30)])
    made["PixelData"].is_undefined_length = True
    made.save_as(path)
    return path


def test_damaged_pixels_are_kept_on_the_way_in_and_counted_as_failed_on_the_way_out(tmp_path: Path) -> None:
    directory = tmp_path / "archive"
    directory.mkdir()
    with storescp(tmp_path / "sink", "+xi") as sink:
        write_map(directory, {"STORESCP": (sink.port, "as")})
        write_ini(directory, IncomingCompression="un")
        with started(directory) as daemon:
            archive = Archive(directory, daemon)
            sent = damaged(tmp_path / "sent", StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.1")
            good = made_in(
                tmp_path / "sent",
                CT,
                "jk",
                StudyInstanceUID="1.2.3",
                SeriesInstanceUID="1.2.3.2",
                PatientID=pydicom.dcmread(sent).PatientID,
            )
            ran = archive.store(sent, good, options=("-xv",))
            assert ran.code == 0, ran.output
            assert sorted(map(syntax_of, archive.files())) == [EXPLICIT_LITTLE, J2K]
            status, output = moved(archive, "1.2.3")
            assert status != 0
            assert "SubOperationsCompleteOneOrMoreFailures" in output or "Warning" in output, output
        assert [path.name.endswith(good.stem) or good.stem in path.name for path in sink.received()] == [True]
        assert working(directory) == []


def test_a_codec_that_hangs_or_dies_costs_one_object_only(tmp_path: Path) -> None:
    directory = tmp_path / "archive"
    directory.mkdir()
    with storescp(tmp_path / "sink", "+xi") as sink:
        write_map(directory, {"STORESCP": (sink.port, "as")})
        write_ini(directory, IncomingCompression="jk")
        with started(directory) as daemon:
            archive = Archive(directory, daemon)
            daemon.server.codecs.close()
            daemon.server.codecs = pool = CodecPool(1, seconds=1.5)
            sent = [made_in(tmp_path / "sent", CT, PatientID="P", StudyInstanceUID="1.2.3") for _ in range(4)]

            def halted() -> int:
                (worker,) = pool.worker_ids()
                os.kill(worker, signal.SIGSTOP)
                return worker

            assert archive.store(sent[0]).code == 0
            hanging = halted()
            assert archive.store(sent[1]).code == 0
            assert not alive(hanging)
            assert archive.store(sent[2]).code == 0
            dying = halted()
            threading.Timer(0.3, os.kill, (dying, signal.SIGKILL)).start()
            assert archive.store(sent[3]).code == 0
            kept = {str(pydicom.dcmread(path).SOPInstanceUID): syntax_of(path) for path in archive.files()}
            assert [kept[path.stem] for path in sent] == [J2K, EXPLICIT_LITTLE, J2K, EXPLICIT_LITTLE]
            assert moved(archive, "1.2.3")[0] == 0
            assert len(sink.received()) == 4
            for path in sink.received():
                path.unlink()
            halted()
            status, output = moved(archive, "1.2.3")
            assert status != 0, output
            assert len(sink.received()) == 3
        assert working(directory) == []
