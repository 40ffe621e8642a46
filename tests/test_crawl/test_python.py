"""The crawler as a Python function."""

from __future__ import annotations

from pathlib import Path

import pytest

from dgate.crawl import Crawler, CrawlResultsNotAvailableError
from tests.test_crawl.crawling import table, tree
from tests.test_crawl.material import by_series, ct, structure_set, uid


@pytest.fixture
def crawler(tmp_path: Path) -> Crawler:
    return Crawler(tree(tmp_path / "T", {"ct/1.dcm": ct(1), "rs/1.dcm": structure_set(201, by_series(1))}))


def test_results_are_there_after_a_crawl_and_not_before(crawler: Crawler) -> None:
    for name in ("index", "crawl_db", "crawl_db_raw"):
        with pytest.raises(CrawlResultsNotAvailableError, match=r"call crawl\(\) first$"):
            getattr(crawler, name)
    summary = crawler.crawl()
    assert (summary.found, summary.series, summary.resolved) == (2, 2, 1)
    assert [(row.Modality, row.instances, row.folder) for row in crawler.index] == [
        ("CT", 1, "T/ct"),
        ("RTSTRUCT", 1, "T/rs"),
    ]
    assert [{key: str(value) for key, value in row.items()} for row in crawler.crawl_db] == table(summary)


def test_a_series_is_looked_up_by_its_uid(crawler: Crawler) -> None:
    crawler.crawl()
    assert crawler.get_folder(uid(201)) == "T/rs"
    assert crawler.get_modality(uid(1)) == "CT"
    assert crawler.get_series_info(uid(201))["ReferencedModality"] == "CT"
    assert crawler.crawl_db_raw[uid(1)]["1"]["instances"] == {f"{uid(1)}.1": "1.dcm"}
    for look_up in (crawler.get_series_info, crawler.get_folder, crawler.get_modality):
        with pytest.raises(ValueError, match=r"^Series UID 1\.2 not found in crawl results\.$"):
            look_up("1.2")


def test_a_second_crawl_of_one_crawler_has_new_results(crawler: Crawler, tmp_path: Path) -> None:
    crawler.crawl()
    assert len(crawler.crawl_db_raw) == 2
    tree(tmp_path / "T", {"ct/2.dcm": ct(2)})
    crawler.crawl()
    assert (len(crawler.crawl_db_raw), len(crawler.index)) == (3, 3)


def test_progress_is_told_and_ends_the_crawl_when_it_raises(crawler: Crawler) -> None:
    told: list[tuple[int, int]] = []
    crawler.progress = lambda done, total: told.append((done, total))
    crawler.crawl()
    assert told == [(0, 0), (0, 2), (2, 2)]

    def refuse(done: int, total: int) -> None:
        raise InterruptedError("enough")

    crawler.progress = refuse
    with pytest.raises(InterruptedError, match=r"^enough$"):
        crawler.crawl()
