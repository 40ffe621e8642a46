"""The crawler: an index of every series in a tree of DICOM files, and of how they refer to each other."""

from dgate.crawl.crawler import Crawler, Summary
from dgate.crawl.errors import CrawlerOutputDirError, CrawlError, CrawlResultsNotAvailableError

__all__ = ["CrawlError", "CrawlResultsNotAvailableError", "Crawler", "CrawlerOutputDirError", "Summary"]
