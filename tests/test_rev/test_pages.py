"""The pages in a browser: strips scroll, tags show, links lead to the viewer, nothing is loaded from elsewhere."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.test_rev.library import PLACE, image, put, rev, series

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
POLICY = "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; frame-src 'self'"
ODD = "T1 'a\" <b> & é%20#"

# It looks at the page in a frame of the same origin, does what a person would, and writes down what came of it.
HARNESS = Path(__file__).with_name("harness.html")


class Site(SimpleHTTPRequestHandler):
    """Files below a directory, pages of the library with the strict policy as a header too."""

    asked: list[str]

    def end_headers(self) -> None:
        if "/library-anon/" in self.path:
            self.send_header("Content-Security-Policy", POLICY)
        super().end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A viewer, with a library beside it, and its address."""
    root = tmp_path_factory.mktemp("site")
    library = root / "library-anon"
    pixels = (np.arange(10, dtype="<i2") * 25).repeat(256).reshape(10, 16, 16)
    put(library, "frames", [image(pixels, WindowCenter=112, WindowWidth=226)])
    put(library, ODD, series(1))
    assert rev(library) == 0
    (root / "index.html").write_text("<!DOCTYPE html><title>viewer</title><p>the viewer")
    (root / "harness.html").write_bytes(HARNESS.read_bytes())
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Site, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield root, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def browse(*arguments: str) -> str:
    """Run the browser to its end and return what it printed."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (apt install chromium): the pages of a ReV library are not opened")
    with tempfile.TemporaryDirectory(prefix="chromium-") as profile:
        command = [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={profile}", "--window-size=1500,900", *arguments,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def test_strips_scroll_tags_show_and_a_click_leads_to_the_viewer(site: tuple[Path, str]) -> None:
    said = browse("--virtual-time-budget=15000", "--dump-dom", f"{site[1]}/harness.html")
    match = re.search(r"<pre>(.*?)</pre>", said, re.DOTALL)
    assert match is not None
    assert html.unescape(match[1]).splitlines() == [
        f"names {ODD}|frames",
        "loaded true",
        "size 128 128 1280",
        "middle 5@-640px",
        "left 0@0px",
        "inside 6@-768px",
        "right 9@-1152px",
        "out 5@-640px",
        "down 7@-896px",
        "home 0@0px",
        "end 9@-1152px",
        "hidden true",
        "tags false frames true",
        "large 300 5",
        "closed true",
        f"odd false {ODD} true",
        "opened /?year=02&month=11&example=00",
    ]


def test_a_page_opened_from_the_disk_shows_strips_and_tags(site: tuple[Path, str], tmp_path: Path) -> None:
    page = (site[0] / "library-anon/02-yr/11-mo/index.html").as_uri()
    shot = tmp_path / "shot.png"
    browse("--virtual-time-budget=5000", f"--screenshot={shot}", f"{page}#00-ex/frames/tags")
    found = np.asarray(Image.open(shot).convert("L")).astype(int)
    # The middle one of ten frames, in the cell and in the panel, beside it the tags on their light ground.
    grey = 5 * 25 * 255 / 225
    assert (np.abs(found[:, :800] - grey) <= 4).sum() > 128 * 120
    assert (np.abs(found[:, 1080:] - grey) <= 4).sum() > 350 * 330
    assert (found[:, 1080:] == 0xDD).sum() > 20_000


def test_a_study_page_leads_on_without_a_script(site: tuple[Path, str]) -> None:
    said = browse("--virtual-time-budget=3000", "--dump-dom", f"{site[1]}/library-anon/{PLACE}/")
    assert "<p>the viewer" in said


def test_nothing_of_a_page_comes_from_elsewhere(site: tuple[Path, str]) -> None:
    texts = [
        path.read_text()
        for path in site[0].joinpath("library-anon").rglob("*")
        if path.suffix in (".html", ".js", ".css")
    ]
    assert len(texts) == 4
    assert [
        text for text in texts if re.search(r"(?:src|href)=\"(?:https?:)?//|@import|url\(|\son\w+=|style=", text)
    ] == []
