"""Reading on a Dask cluster, seen as an executor like any other."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from importlib import import_module

from dgate.crawl.errors import CrawlError

_CONNECT_SECONDS = 30


@contextmanager
def cluster_executor(address: str) -> Iterator[Executor]:
    """The workers of the cluster whose scheduler listens at `address`; they must see the same directories.

    Raises CrawlError when distributed is not installed or nobody answers.
    """
    try:
        distributed = import_module("distributed")
    except ImportError:
        raise CrawlError("--cluster needs Dask: pip install 'dgate[cluster]'") from None
    try:
        client = distributed.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise CrawlError(f"no Dask scheduler answers at {address}: {error or type(error).__name__}") from error
    with client, client.get_executor(pure=False) as executor:
        yield executor
