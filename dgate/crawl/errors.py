"""What a crawl raises; each message is one line for whoever asked for it."""


class CrawlError(Exception):
    """Base of everything the crawler declares."""


class CrawlerOutputDirError(CrawlError):
    """The output directory cannot be used."""


class CrawlResultsNotAvailableError(CrawlError):
    """Results were asked for before `crawl`."""


class CrawlBusyError(CrawlError):
    """Another crawl is writing to the same output directory."""


class InterlacerQueryError(CrawlError):
    """A question to the graph that has no meaning."""


class DuplicateRowError(InterlacerQueryError):
    """An index with two rows that differ in nothing but their sub-series."""


class UnsupportedModalityError(InterlacerQueryError):
    """A modality that the graph cannot be asked for."""


class MissingDependencyModalityError(InterlacerQueryError):
    """A modality that is asked for without one that it hangs from."""
