"""The crawl as a job of the server: `--crawl:dir,outdir`."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor
from pathlib import Path

from server.jobs import JobFailed, JobKind, JobRun
from storage.executor import bulk_executor, processors


def run(job: JobRun) -> str:
    """Crawl the directory `dir` into `outdir` ("" for beside it), reading in other processes than the server's.

    An interrupted crawl goes on where it was.
    """
    # Loaded with the first crawl: most servers never do one.
    from dgate.crawl.crawler import Crawler
    from dgate.crawl.errors import CrawlError

    output = Path(job.arguments["outdir"]) if job.arguments["outdir"] else None
    executor = bulk_executor(max(1, processors() - 2))
    try:
        crawler = Crawler(Path(job.arguments["dir"]), output, executor=executor, progress=job.progress)
        summary = crawler.crawl()
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        raise JobFailed(what) from error
    except (CrawlError, ValueError, BrokenExecutor) as error:
        raise JobFailed(str(error) or type(error).__name__) from error
    finally:
        executor.shutdown(cancel_futures=True)
    return f"{summary}; in {summary.directory}"


CRAWL = JobKind("crawl", run)
