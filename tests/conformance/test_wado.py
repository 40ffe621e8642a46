"""WADO-URI over HTTP (PS3.18 section 9) on a running server: answers, errors, and who may ask."""

from __future__ import annotations

import http.client
import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from urllib.parse import quote, urlencode

import numpy as np
import pydicom
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import ImageSequence
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from server.web import host
from server.web.host import WebServer
from tests.commands import Site, site
from tests.objects import data_set_bytes, ds, encoded
from tests.peers import free_port
from tests.pictures import image_of, linear, opened
from tests.servers import dgate, program

RAMP = np.arange(600, dtype=np.uint16).reshape(20, 30)
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def ramp() -> Dataset:
    return image_of(
        RAMP,
        PatientName="SECRET^NAME",
        PatientID="SECRET-ID",
        StudyInstanceUID="1.2.1",
        SeriesInstanceUID="1.2.1.1",
        SOPInstanceUID="1.2.1.1.1",
        WindowCenter="300",
        WindowWidth="600",
    )


def frames() -> Dataset:
    return image_of(
        np.stack([np.full((8, 12), 100 * number, np.uint16) for number in range(3)]),
        StudyInstanceUID="1.2.2",
        SeriesInstanceUID="1.2.2.1",
        SOPInstanceUID="1.2.2.1.1",
        WindowCenter="100",
        WindowWidth="200",
    )


def bare() -> Dataset:
    return ds(StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.1", SOPInstanceUID="1.2.3.1.1")


OBJECT = ramp()
RAMP_UIDS = {"studyUID": "1.2.1", "seriesUID": "1.2.1.1", "objectUID": "1.2.1.1.1"}
FRAMES_UIDS = {"studyUID": "1.2.2", "seriesUID": "1.2.2.1", "objectUID": "1.2.2.1.1"}
BARE_UIDS = {"studyUID": "1.2.3", "seriesUID": "1.2.3.1", "objectUID": "1.2.3.1.1"}


@dataclass(frozen=True)
class Answer:
    """What came back: headers by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def media(self) -> str:
        return self.headers.get("content-type", "")


def get(port: int, target: str, *, method: str = "GET", headers: dict[str, str] | None = None) -> Answer:
    """One request over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, target, headers=headers or {})
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())
    finally:
        connection.close()


def target(uids: dict[str, str], **parameters: object) -> str:
    return "/wado?" + urlencode({"requestType": "WADO", **uids, **parameters})


@dataclass(frozen=True)
class WebSite:
    """A running site and its web port."""

    site: Site
    port: int

    def wado(self, uids: dict[str, str] = RAMP_UIDS, *, accept: str | None = None, **parameters: object) -> Answer:
        return get(self.port, target(uids, **parameters), headers={} if accept is None else {"Accept": accept})


@contextmanager
def website(directory: Path, **keys: object) -> Iterator[WebSite]:
    port = free_port()
    with site(directory, WebPort=port, **keys) as running:
        yield WebSite(running, port)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebSite]:
    with website(tmp_path_factory.mktemp("web") / "site") as running:
        running.site.keep(OBJECT, frames(), bare())
        running.site.daemon.server.logs.add("own.log", debug=True)
        yield running


def expected(center: float, width: float) -> np.ndarray:
    values = [linear(Fraction(int(v)), Fraction(center), Fraction(width)) for v in RAMP.flat]
    return np.array(values, np.uint8).reshape(RAMP.shape)


SHOWN = expected(300, 600)


def pixels(answer: Answer) -> np.ndarray:
    assert answer.status == 200, answer.body
    return np.asarray(opened(answer.body).convert("L"))


@pytest.mark.parametrize("kind", ["image/png", "image/gif", "image/bmp", "image/jpeg"])
def test_a_picture_of_each_type_shows_the_object_in_its_window(web: WebSite, kind: str) -> None:
    answer = web.wado(contentType=kind)
    assert answer.media == kind
    assert answer.headers["content-length"] == str(len(answer.body))
    assert opened(answer.body).format == kind.partition("/")[2].upper()
    close = 4 if kind == "image/jpeg" else 0
    assert np.abs(pixels(answer).astype(int) - SHOWN).max() <= close


def test_every_answer_carries_what_keeps_patient_data_in_its_place(web: WebSite) -> None:
    for answer in (web.wado(), web.wado(rows=0), web.wado({**RAMP_UIDS, "objectUID": "9"}), get(web.port, "/")):
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers


def test_the_second_path_is_that_of_conquests_web_server(web: WebSite) -> None:
    assert get(web.port, target(RAMP_UIDS).replace("/wado", "/api/dicom/wadouri")).media == "image/jpeg"


def test_head_has_the_headers_alone_and_other_methods_are_refused(web: WebSite) -> None:
    answer = get(web.port, target(RAMP_UIDS, contentType="image/png"), method="HEAD")
    assert (answer.status, answer.media, answer.body) == (200, "image/png", b"")
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        refused = get(web.port, target(RAMP_UIDS), method=method)
        assert (refused.status, sorted(refused.headers["allow"].split(", "))) == (405, ["GET", "HEAD"])


@pytest.mark.parametrize(("center", "width"), [("100", "50"), ("100.5", "1"), ("-3e2", "2000"), ("+40", "400.25")])
def test_the_window_asked_for_replaces_that_of_the_object(web: WebSite, center: str, width: str) -> None:
    answer = web.wado(contentType="image/png", windowCenter=center, windowWidth=width)
    assert np.array_equal(pixels(answer), expected(float(center), float(width)))


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({"rows": 10}, (15, 10)),
        ({"columns": 10}, (10, 7)),
        ({"rows": 10, "columns": 10}, (10, 7)),
        ({"rows": 40, "columns": 400}, (60, 40)),
        ({"region": "0,0,0.5,0.5"}, (15, 10)),
        ({"region": "0.5,0,1,1", "rows": 40}, (30, 40)),
    ],
)
def test_rows_columns_and_region_keep_the_shape(web: WebSite, asked: dict[str, object], size: tuple[int, int]) -> None:
    assert opened(web.wado(contentType="image/png", **asked).body).size == size


def test_a_region_is_the_part_of_the_picture_it_names(web: WebSite) -> None:
    answer = web.wado(contentType="image/png", region="0.1,0.25,.5,1.0")
    assert np.array_equal(pixels(answer), SHOWN[5:, 3:15])


def test_image_quality_is_that_of_the_jpeg(web: WebSite) -> None:
    rough, fine = (web.wado(imageQuality=quality, rows=400) for quality in (1, 100))
    assert len(rough.body) < len(fine.body)


def test_frames_count_from_1_and_a_gif_holds_all(web: WebSite) -> None:
    greys = [linear(Fraction(100 * n), Fraction(100), Fraction(200)) for n in range(3)]
    for number, grey in enumerate(greys, 1):
        assert pixels(web.wado(FRAMES_UIDS, contentType="image/png", frameNumber=number))[0, 0] == grey
    assert pixels(web.wado(FRAMES_UIDS, contentType="image/png"))[0, 0] == greys[0]
    image = opened(web.wado(FRAMES_UIDS, contentType="image/gif").body)
    assert image.n_frames == 3  # type: ignore[attr-defined]
    assert [np.asarray(frame.convert("L"))[0, 0] for frame in ImageSequence.Iterator(image)] == greys
    single = opened(web.wado(FRAMES_UIDS, contentType="image/gif", frameNumber=2).body)
    assert getattr(single, "n_frames", 1) == 1


@pytest.mark.parametrize(
    ("asked", "accept", "media"),
    [
        ({}, None, "image/jpeg"),
        ({}, "*/*", "image/jpeg"),
        ({}, "text/html,application/xhtml+xml,image/avif,image/webp,*/*;q=0.8", "image/jpeg"),
        ({}, "image/gif", "image/gif"),
        ({}, "image/gif;q=0.2, image/png;q=0.9", "image/png"),
        ({"contentType": "image/png"}, "image/gif", "image/png"),
        ({"contentType": "video/mpeg,image/gif,image/png"}, None, "image/gif"),
        ({"contentType": "image/jpeg;q=0.1,IMAGE/PNG"}, None, "image/png"),
        ({"contentType": "text/plain"}, None, "text/plain; charset=utf-8"),
    ],
)
def test_the_media_type_is_the_first_that_is_wanted_and_made(
    web: WebSite, asked: dict[str, str], accept: str | None, media: str
) -> None:
    answer = web.wado(accept=accept, **asked)
    assert (answer.status, answer.media) == (200, media)


def test_an_object_without_image_is_a_file_unless_a_picture_is_insisted_on(web: WebSite) -> None:
    answer = web.wado(BARE_UIDS)
    assert answer.media == "application/dicom"
    assert pydicom.dcmread(io.BytesIO(answer.body)).SOPInstanceUID == "1.2.3.1.1"
    for asked in ({"contentType": "image/png"}, {"rows": 5}):
        refused = web.wado(BARE_UIDS, **asked)
        assert (refused.status, refused.media) == (406, "text/plain; charset=utf-8")
        assert refused.body.startswith(b"this cannot be made of the object: it has no ")


def test_an_object_comes_as_it_is_stored_behind_its_meta_information(web: WebSite, tmp_path: Path) -> None:
    answer = web.wado(contentType="application/dicom")
    assert answer.headers["content-disposition"] == 'attachment; filename="1.2.1.1.1.dcm"'
    assert answer.headers["content-length"] == str(len(answer.body))
    for name, raw in (("got", answer.body), ("sent", encoded(OBJECT))):
        (tmp_path / name).write_bytes(raw)
    assert data_set_bytes(tmp_path / "got") == data_set_bytes(tmp_path / "sent")
    assert pydicom.dcmread(tmp_path / "got").file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless])
def test_an_object_comes_in_the_transfer_syntax_asked_for(web: WebSite, syntax: str) -> None:
    answer = web.wado(contentType="application/dicom", transferSyntax=syntax)
    made = pydicom.dcmread(io.BytesIO(answer.body))
    assert made.file_meta.TransferSyntaxUID == syntax
    assert made.SOPInstanceUID == "1.2.1.1.1"
    assert np.array_equal(made.pixel_array, RAMP)


def test_a_compressed_object_comes_uncompressed_unless_it_is_wanted_as_stored(web: WebSite) -> None:
    uids = {"studyUID": "1.2.5", "seriesUID": "1.2.5.1", "objectUID": "1.2.5.1.1"}
    raw = web.wado(contentType="application/dicom", transferSyntax=JPEG2000Lossless).body
    stored = pydicom.dcmread(io.BytesIO(raw))
    stored.StudyInstanceUID, stored.SeriesInstanceUID, stored.SOPInstanceUID = uids.values()
    stored.PatientID = "P5"
    stored.file_meta.MediaStorageSOPInstanceUID = stored.SOPInstanceUID
    path = web.site.directory / "compressed.dcm"
    stored.save_as(path)
    assert web.site.says(f"addimagefile:{path}") == "0"
    plain = pydicom.dcmread(io.BytesIO(web.wado(uids, contentType="application/dicom").body))
    assert plain.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert np.array_equal(plain.pixel_array, RAMP)
    as_stored = web.wado(uids, contentType="application/dicom", transferSyntax="*").body
    assert pydicom.dcmread(io.BytesIO(as_stored)).file_meta.TransferSyntaxUID == JPEG2000Lossless
    assert np.array_equal(pixels(web.wado(uids, contentType="image/png")), SHOWN)


def test_texts_list_the_header_and_run_nothing(web: WebSite) -> None:
    plain = web.wado(contentType="text/plain", charset="utf-8")
    assert plain.body.decode() == web.site.says("dump_header::1.2.1.1.1")
    nasty = ds(PatientName="<script>alert(1)</script>", StudyInstanceUID="1.2.4", SeriesInstanceUID="1.2.4.1")
    nasty.SOPInstanceUID = "1.2.4.1.1"
    web.site.keep(nasty)
    answer = web.wado({"studyUID": "1.2.4", "seriesUID": "1.2.4.1", "objectUID": "1.2.4.1.1"}, contentType="text/html")
    assert b"&lt;script&gt;alert(1)" in answer.body
    assert b"<script" not in answer.body


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"requestType": "wado"}, 400, "requestType must be WADO"),
        ({"requestType": None}, 400, "requestType must be WADO"),
        ({"studyUID": None}, 400, "studyUID is missing"),
        ({"objectUID": "1.2/../../etc"}, 400, "objectUID '1.2/../../etc' is no UID"),
        ({"seriesUID": "1" * 65}, 400, "seriesUID"),
        ({"objectUID": "1.2.*"}, 400, "objectUID '1.2.*' is no UID"),
        ({"rows": "0"}, 400, "rows '0' is no whole number from 1 to 16384"),
        ({"columns": "16385"}, 400, "columns"),
        ({"rows": "1e3"}, 400, "rows"),
        ({"rows": "٣"}, 400, "rows"),
        ({"frameNumber": "0"}, 400, "frameNumber"),
        ({"frameNumber": "2"}, 400, "frameNumber: it has 1 frame"),
        ({"windowCenter": "40"}, 400, "windowCenter and windowWidth need each other"),
        ({"windowCenter": "40", "windowWidth": "0.5"}, 400, "windowWidth '0.5' is less than 1"),
        ({"windowCenter": "nan", "windowWidth": "10"}, 400, "windowCenter 'nan' is no decimal number"),
        ({"windowCenter": "1e99", "windowWidth": "10"}, 400, "windowCenter"),
        ({"region": "0,0,1"}, 400, "region"),
        ({"region": "0.5,0,0.5,1"}, 400, "region"),
        ({"region": "0,0,1,1.01"}, 400, "region"),
        ({"imageQuality": "101"}, 400, "imageQuality"),
        ({"contentType": "picture"}, 400, "contentType"),
        ({"contentType": "video/mpeg"}, 406, "none of 'video/mpeg' is made here"),
        ({"contentType": "application/dicom", "rows": "5"}, 400, "rows is for pictures"),
        (
            {"contentType": "application/dicom", "transferSyntax": "implicit"},
            400,
            "transferSyntax 'implicit' is no UID",
        ),
        ({"contentType": "application/dicom", "transferSyntax": "1.2.3.4"}, 406, "there is no codec"),
        ({"transferSyntax": "1.2.840.10008.1.2"}, 400, "transferSyntax is for contentType application/dicom"),
        ({"anonymize": "yes"}, 406, "does not anonymise"),
        ({"anonymize": "maybe"}, 400, "anonymize 'maybe' can only be yes"),
        ({"annotation": "patient"}, 406, "annotation is not supported"),
        ({"presentationUID": "1.2.3"}, 406, "presentationUID is not supported"),
        ({"bridge": "OTHER"}, 406, "bridge is not supported"),
        ({"contentType": "text/plain", "charset": "iso-8859-1"}, 406, "texts are UTF-8"),
        ({"charset": "<x>"}, 400, "charset"),
        ({"objectUID": "1.2.1.1.9"}, 404, "the object is not in the database"),
        ({"studyUID": "1.2.2"}, 404, "the object is not in the database"),
        ({"seriesUID": "1.2.2.1"}, 404, "the object is not in the database"),
        ({"columns": "16384", "region": "0,0,0.01,1"}, 406, "too large"),
    ],
)
def test_what_is_wrong_is_named_with_the_status_of_the_standard(
    web: WebSite, change: dict[str, str | None], status: int, said: str
) -> None:
    asked = {name: value for name, value in {"requestType": "WADO", **RAMP_UIDS, **change}.items() if value is not None}
    answer = get(web.port, f"/wado?{urlencode(asked)}")
    assert (answer.status, answer.media) == (status, "text/plain; charset=utf-8")
    assert said in answer.body.decode()
    assert answer.body.count(b"\n") == 1


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("requestType=WADO&requestType=WADO", 400),
        ("%ff=1", 400),
        ("&".join(f"a{number}=1" for number in range(50)), 400),
        ("a=" + "b" * 5000, 414),
        ("", 400),
    ],
)
def test_queries_that_are_none_are_refused(web: WebSite, query: str, status: int) -> None:
    assert get(web.port, f"/wado?{query}").status == status


def test_parameters_that_the_standard_does_not_know_are_passed_over(web: WebSite) -> None:
    assert np.array_equal(pixels(web.wado(contentType="image/png", token="x", Rows="5")), SHOWN)


def test_elsewhere_there_is_nothing(web: WebSite) -> None:
    for path in ("/", "/wado/", "/dicom.ini", "/../dicom.ini", "/wado/../../etc/passwd", "/%2e%2e/dicom.ini"):
        assert get(web.port, path).status == 404


@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil.example:80", "[::1"])
def test_a_host_that_is_not_this_machine_is_not_served(web: WebSite, name: str) -> None:
    answer = get(web.port, target(RAMP_UIDS), headers={"Host": name})
    assert answer.status == 421
    assert b"SECRET" not in answer.body


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST:8086", "127.0.0.1:1", "[::1]:80", "10.1.2.3"])
def test_a_host_that_is_an_address_or_this_machine_is_served(web: WebSite, name: str) -> None:
    assert get(web.port, target(RAMP_UIDS), headers={"Host": name}).status == 200


def test_the_name_that_dicom_ini_has_for_the_pages_is_served(tmp_path: Path) -> None:
    with website(tmp_path / "site", WEBScriptAddress="http://pacs.hospital.example/cgi-bin/dgate") as running:
        running.site.keep(bare())
        for name, status in (("pacs.hospital.example", 200), ("hospital.example", 421)):
            assert get(running.port, target(BARE_UIDS), headers={"Host": name}).status == status


def test_from_elsewhere_only_the_addresses_of_dicom_ini_may_ask(tmp_path: Path) -> None:
    address = own_address()
    port = free_port()
    with site(tmp_path / "site", WebPort=port, WebAddress="0.0.0.0") as running:
        running.keep(bare())
        query = f"GET {target(BARE_UIDS)} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        assert raw(address, port, query).startswith(b"HTTP/1.1 403 ")
        # Whoever adds this header may be anybody.
        forged = query.replace("Host", "X-Forwarded-For: 127.0.0.1\r\nHost")
        assert raw(address, port, forged).startswith(b"HTTP/1.1 403 ")
        running.says(f"put_param:CommandReadOnly,{address}")
        running.says("read_ini:")
        assert raw(address, port, query).startswith(b"HTTP/1.1 200 ")


def own_address() -> str:
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no network")
        address: str = probe.getsockname()[0]
    if address.startswith("127."):
        pytest.skip("this machine has no network")
    return address


def raw(address: str, port: int, request: str | bytes, *, timeout: float = 30) -> bytes:
    """What comes back until the server closes."""
    with socket.create_connection((address, port), timeout=timeout) as connection:
        connection.sendall(request.encode() if isinstance(request, str) else request)
        received = b""
        while piece := connection.recv(65536):
            received += piece
        return received


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /wado HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"\x00\x01\x02\xff" * 30 + b"\r\n\r\n",
        b"GET /wado?" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /wado HTTP/1.1\r\nHost: localhost\r\n" + b"a: " + b"b" * 40_000 + b"\r\n\r\n",
        b"GET /wado HTTP/9.9\r\nHost: localhost\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused_and_others_are_served(web: WebSite, request_: bytes) -> None:
    closing = request_.replace(b"Host: localhost\r\n", b"Host: localhost\r\nConnection: close\r\n", 1)
    assert raw("127.0.0.1", web.port, closing)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 414", b"HTTP/1.1 421")
    assert web.wado().status == 200


def test_a_request_that_never_ends_is_ended(web: WebSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "REQUEST_S", 0.4)
    for beginning in (b"", b"GET /wado HTTP/1.1\r\nHost: loc"):
        began = time.monotonic()
        assert raw("127.0.0.1", web.port, beginning) == b""
        assert 0.3 <= time.monotonic() - began < 5
    # Dripping does not help.
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as connection:
        assert drips(connection) < 60


def drips(connection: socket.socket) -> int:
    """How many pieces of a request are taken, one every 50 ms."""
    for number in range(100):
        try:
            connection.sendall(b"G")
        except OSError:
            return number
        time.sleep(0.05)
    return 100


def test_a_peer_that_does_not_read_is_hung_up_on(tmp_path: Path) -> None:
    with website(tmp_path / "site", TCPIPTimeOut=1) as running:
        large = image_of(np.zeros((4000, 4000), np.uint16))
        running.site.keep(large)
        uids = dict(
            zip(BARE_UIDS, (large.StudyInstanceUID, large.SeriesInstanceUID, large.SOPInstanceUID), strict=True)
        )
        with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
            query = target(uids, contentType="application/dicom")
            connection.sendall(f"GET {query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            deadline = time.monotonic() + 15
            while "the peer does not read the answer" not in running.site.log():
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert running.wado(uids, rows=10).status == 200


def test_a_connection_is_kept_for_further_requests(web: WebSite) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
    sockets = set()
    for _ in range(3):
        connection.request("GET", target(RAMP_UIDS, contentType="image/png"))
        sockets.add(connection.sock)
        assert connection.getresponse().read()[:4] == b"\x89PNG"
    assert len(sockets) == 1
    connection.close()


def test_a_server_that_has_enough_to_draw_says_so(web: WebSite) -> None:
    large = image_of(np.zeros((60, 512, 512), np.uint8) + np.arange(60, dtype=np.uint8)[:, None, None])
    web.site.keep(large)
    uids = {
        "studyUID": large.StudyInstanceUID,
        "seriesUID": large.SeriesInstanceUID,
        "objectUID": large.SOPInstanceUID,
    }
    server = web.site.daemon.server
    port = free_port()
    server.settings, before = type(server.settings)(WebPort=port), server.settings
    second = WebServer(server, most=1)
    server.settings = before
    second.start()

    def draw() -> None:
        # The other request may be the first.
        while get(port, target(uids, contentType="image/gif", rows=1024)).status == 503:
            time.sleep(0.01)

    slow = threading.Thread(target=draw)
    try:
        slow.start()
        deadline = time.monotonic() + 10
        while (answer := get(port, target(BARE_UIDS))).status != 503:
            assert time.monotonic() < deadline
        assert (answer.headers["retry-after"], answer.media) == ("2", "text/plain; charset=utf-8")
        slow.join(60)
        assert get(port, target(BARE_UIDS)).status == 200
    finally:
        second.stop()


def test_pixels_that_cannot_be_decoded_cost_that_object_alone(web: WebSite) -> None:
    raw_object = bytearray(web.wado(contentType="application/dicom", transferSyntax=JPEG2000Lossless).body)
    uids = {"studyUID": "1.2.1", "seriesUID": "1.2.1.1", "objectUID": "1.2.1.1.1"}
    start = raw_object.index(b"\xff\x4f\xff\x51")
    raw_object[start + 60 : start + 200] = bytes(140)
    broken = pydicom.dcmread(io.BytesIO(raw_object))
    broken.SOPInstanceUID = broken.file_meta.MediaStorageSOPInstanceUID = "1.2.1.1.66"
    path = web.site.directory / "broken.dcm"
    broken.save_as(path)
    assert web.site.says(f"addimagefile:{path}") == "0"
    answer = web.wado({**uids, "objectUID": "1.2.1.1.66"}, contentType="image/png")
    assert answer.status == 406
    assert answer.body.startswith(b"this cannot be made of the object: ")
    # As it is stored it can be had all the same.
    stored = web.wado({**uids, "objectUID": "1.2.1.1.66"}, contentType="application/dicom", transferSyntax="*")
    assert stored.status == 200
    assert web.wado().status == 200


def test_a_file_that_is_gone_is_not_found(web: WebSite) -> None:
    gone = ds(PatientID="GONE")
    web.site.keep(gone)
    for path in web.site.images("GONE"):
        path.unlink()
    uids = {"studyUID": gone.StudyInstanceUID, "seriesUID": gone.SeriesInstanceUID, "objectUID": gone.SOPInstanceUID}
    answer = web.wado(uids)
    assert (answer.status, answer.body) == (404, b"the file of the object is missing\n")


_NAMES = st.sampled_from(
    (
        *("rows", "columns", "region", "windowCenter", "windowWidth", "frameNumber", "imageQuality", "contentType"),
        *("transferSyntax", "charset", "anonymize", "annotation", "studyUID", "objectUID", "requestType", "x"),
    )
)
_VALUES = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["0", "1", "-1", "7", "1e9", "nan", "0,0,1,1", "image/png", "image/*", "*/*;q=0", "yes", "*"]),
    st.binary(max_size=12).map(lambda raw: raw.decode("latin-1")),
)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(_NAMES, _VALUES), max_size=4), st.sampled_from(["", "*/*", "image/gif;q=x", ",;,=", "a/b"]))
@example([("region", "1e-320,0,1,1")], "")
@example([("region", "0,0,1e-9,1e-9"), ("rows", "7")], "")
def test_any_parameters_get_an_answer(web: WebSite, parameters: list[tuple[str, str]], accept: str) -> None:
    given_names = {name for name, _ in parameters}
    pairs = [(name, value) for name, value in {"requestType": "WADO", **RAMP_UIDS}.items() if name not in given_names]
    query = "&".join(f"{name}={quote(value.encode('utf-8', 'surrogatepass'))}" for name, value in [*pairs, *parameters])
    answer = get(web.port, f"/wado?{query}", headers={"Accept": accept})
    assert answer.status in (200, 400, 404, 406, 414)
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS


def test_the_log_names_objects_and_peers_but_no_patient(web: WebSite) -> None:
    web.wado(contentType="text/plain")
    web.wado(PatientName="SECRET", rows="SECRET")
    lines = (web.site.directory / "own.log").read_text().splitlines()
    said = "\n".join(line for line in lines if "WADO" in line or "Web" in line)
    assert "WADO 1.2.1.1.1 for 127.0.0.1: 200 image/png" in said
    assert "SECRET" not in said
    assert not [line for line in lines if "Traceback" in line or "SECRET^" in line]


def test_a_site_of_conquest_has_the_port_under_another_name(tmp_path: Path) -> None:
    port = free_port()
    with site(tmp_path / "site", Ladleport=port) as running:
        running.keep(bare())
        assert get(port, target(BARE_UIDS)).media == "application/dicom"


def test_without_a_port_there_is_no_web_server_and_a_taken_one_leaves_the_archive_running(tmp_path: Path) -> None:
    with site(tmp_path / "off") as running:
        assert running.daemon.server.settings.WebPort == 0
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with site(tmp_path / "taken", WebPort=port) as running:
            running.keep(bare())
            assert f"***WebPort: cannot listen on 127.0.0.1:{port}: " in running.log()


def test_the_program_answers_and_stops_with_a_picture_on_its_way(tmp_path: Path) -> None:
    port = free_port()
    with program(tmp_path / "site", WebPort=port) as running:
        path = tmp_path / "ramp.dcm"
        path.write_bytes(encoded(ramp()))
        done = dgate(f"-p{running.port}", "-q127.0.0.1", f"--addlocalfile:{path}", directory=tmp_path)
        assert done.stdout == b"0"
        assert np.array_equal(pixels(get(port, target(RAMP_UIDS, contentType="image/png"))), SHOWN)
        reading = socket.create_connection(("127.0.0.1", port))
        reading.sendall(b"GET /wado HTTP/1.1\r\n")
        assert running.stop() == 0
        reading.close()
