"""C-MOVE of compressed CT to a receiver that takes nothing compressed, beside Orthanc."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from storage.pool import CodecPool
from storage.transcode import Wanted, transcode
from tests.benchmarks.codecs import slices
from tests.benchmarks.material import CT, Batch
from tests.benchmarks.measure import Contender, Result, rounds
from tests.benchmarks.report import Bar, Section
from tests.benchmarks.retrieves import moved
from tests.benchmarks.rivals import Open, orthanc_as, ours, storescp
from tests.benchmarks.stores import dcmsend, opened
from tests.objects import ds, write
from tests.peers import free_port

_OURS, _ORTHANC = "dgate", "Orthanc"
_FORMS = {"jk": "JPEG 2000 lossless", "j1": "JPEG lossless"}
# Where Debian's packages put plugins of Orthanc.
_PLUGINS = ("/usr/share/orthanc/plugins", "/usr/lib/orthanc")


def transcoding(base: Path, runs: int) -> list[Section]:
    """Each form of 200 CT; the receiver is storescp, which takes uncompressed objects alone."""
    return [_measured(base / code, runs, code, text) for code, text in _FORMS.items()]


def _measured(base: Path, runs: int, code: str, text: str) -> Section:
    sink_port = free_port()
    both: dict[str, Open] = {_OURS: lambda place: ours(place, sink_port, Durability="fast")}
    plugins = _gdcm()
    if code == "jk" and not plugins:
        print("Orthanc: left out of JPEG 2000, its GDCM plugin is missing: apt-get install orthanc-gdcm", flush=True)
    else:
        both[_ORTHANC] = lambda place: orthanc_as(place, sink_port, sync=False, Plugins=plugins)
    title = f"C-MOVE of {CT.count} CT stored as {text} to storescp --ignore, which takes them uncompressed"
    result = Result(title, "objects", CT.count)
    servers: Mapping[str, Open] = both
    batch = _material(base / "sent", code)
    with ExitStack() as stack:
        stack.enter_context(storescp(base / "sink", "--ignore", "--fork", "-aet", "SINK", port=sink_port))
        running = opened(stack, base, servers)
        for server in running.values():
            dcmsend(server, batch, "-dn")  # else it would decompress for whoever prefers that
        contenders = [
            Contender(name, lambda _, server=server: moved(server), _OURS, server.pid)
            for name, server in running.items()
        ]
        rounds(result, contenders, runs)
    bar = Bar(f"C-MOVE of 200 CT, {text} to uncompressed, vs Orthanc", result.ratio(_OURS, _ORTHANC), 1.0, 0.7)
    return result.section([bar])


def _gdcm() -> list[str]:
    found = [path for place in _PLUGINS for path in Path(place).glob("*rthancGdcm*.so*")]
    return [str(path) for path in found[:1]]


def _material(base: Path, code: str) -> Batch:
    """Objects of one study under a code."""
    directory = base / "sender0"
    shutil.rmtree(base, ignore_errors=True)
    directory.mkdir(parents=True)
    pixels = slices()
    size = 2 * CT.size * CT.size
    first = ds(PatientID="BENCH0")
    with CodecPool() as pool:
        made = []
        for number in range(CT.count):
            place = number * size % len(pixels)
            one = ds(
                PatientID="BENCH0",
                StudyInstanceUID=first.StudyInstanceUID,
                SeriesInstanceUID=first.SeriesInstanceUID,
                InstanceNumber=number + 1,
                Rows=CT.size,
                Columns=CT.size,
                SamplesPerPixel=1,
                PhotometricInterpretation="MONOCHROME2",
                BitsAllocated=16,
                BitsStored=12,
                HighBit=11,
                PixelRepresentation=0,
                PixelData=pixels[place : place + size],
            )
            one["PixelData"].VR = "OW"
            path = write(base / "plain", one)
            made.append(pool.submit(transcode, path, Wanted(code, meta=True), directory / path.name))
        for each in made:
            assert each.result().changed
    return Batch(CT, (directory,))
