"""The page docs/crawl.md: what the crawler is for, and its options out of their declarations."""

from __future__ import annotations

import click

from dgate.crawl.cli import COMMANDS
from dgate.crawl.output import COLUMNS

_PAGE = """\
# The crawler

The tables of options on this page are generated from their declarations.

`dgate crawl DIR` reads the header of every DICOM file below a directory, once, and leaves an index of all series in it
and of what they refer to: which CT a structure set was drawn on, which structure set a plan uses, which dose belongs
to it. Files are opened for reading only and need no server.

```sh
dgate crawl DICOM_FILES                            # writes .imgtools/DICOM_FILES beside it
dgate crawl show DICOM_FILES                       # patients, series and references as trees
dgate crawl show DICOM_FILES --svg graph.svg       # the same as a picture
dgate crawl query DICOM_FILES CT,RTSTRUCT,RTDOSE   # every structure set with its CT and dose
dgate crawl --from-archive -w/srv/dicom            # of what a server stores, out of its database
dgate --crawl:/data/DICOM_FILES                    # as a job of the server; --jobs:1 tells how far it is
```

The files are those of [med-imagetools](https://github.com/bhklab/med-imagetools) 2, which can read them, as dgate can
read its own:

| file | content |
|---|---|
| `index.csv` | a row for each series and acquisition: {columns} |
| `crawl_db.json` | series, acquisition, all fields, instances (UID and file name), the reference that was found |
| `crawl-cache.json` | the same as extracted, before references are looked up |
| `sop_map.json` | the series of each SOP instance |
| `crawl-errors.csv` | files that were skipped, with the reason |
| `crawl-state.json` | size and time of each file, so that the next crawl reads only what has changed |

Equal trees give equal files, whatever order they were made in: where several answers are possible, a fixed rule takes
one and a warning says so. Where med-imagetools 2.16 loses a reference (a structure set without the UID of its series,
doses that name an image, a plan or a structure set, segmentations of two series, PET values that stand in their
sequence) it is found. A file that cannot be indexed is skipped and named; `--strict` makes that an error. An
interrupted or killed crawl goes on where it was when the same command is given again.

Patient IDs are in the index and in pictures of it, and in no log.

## Options

{options}
## In Python

```python
from pathlib import Path
from dgate.crawl import Crawler

crawler = Crawler(Path("DICOM_FILES"), n_jobs=4)
print(crawler.crawl())  # 2018 files found, 2018 read, 0 skipped; 39 series; references: ...
for row in crawler.index:  # the rows of index.csv
    print(row.Modality, row.folder)
crawler.crawl_db_raw  # the whole of crawl_db.json
crawler.get_series_info("1.2.3")  # one series; also get_folder, get_modality
```

`extensions`, `force`, `all_subseries` are the options above; `executor` takes any `concurrent.futures.Executor`, such
as that of a Dask client, and `progress` a function that is told how many files of how many are read.
"""


def page() -> str:
    """The text of docs/crawl.md."""
    columns = ", ".join(COLUMNS)
    return _PAGE.format(columns=columns, options="\n".join(_options(command) for command in COMMANDS))


def _options(command: click.Command) -> str:
    rows = [_row(one) for one in command.params if isinstance(one, click.Option)]
    return "\n".join([f"### `{command.name}`", "", "| option | meaning |", "|---|---|", *rows, ""])


def _row(option: click.Option) -> str:
    value = "" if option.is_flag or option.count else f" {option.metavar}"
    names = ", ".join(f"`{name}{value}`" for name in (*option.opts, *option.secondary_opts))
    return f"| {names} | {(option.help or '').replace('|', '/')} |"
