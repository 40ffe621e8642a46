"""The files that are generated from the program's tables: ``python -m dgate.docs`` writes them anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import dgate.commands  # noqa: F401  (fills the table of commands)
from dgate.command import reference
from dgate.compression import page as compression_page
from dgate.conformance import conformance
from dgate.crawl.document import page as crawl_page
from dgate.examples import acrnema_map_example, dicom_ini_example, dicom_ini_reference
from dgate.rev.document import page as rev_page

PAGES: Mapping[str, Callable[[], str]] = {
    "docs/commands.md": reference,
    "docs/dicom-ini.md": dicom_ini_reference,
    "docs/conformance.md": conformance,
    "docs/compression.md": compression_page,
    "docs/crawl.md": crawl_page,
    "docs/rev.md": rev_page,
    "dicom.ini.example": dicom_ini_example,
    "acrnema.map.example": acrnema_map_example,
}


def main() -> None:
    """Write every generated file of the checkout that holds this package."""
    root = Path(__file__).resolve().parent.parent
    for name, text in PAGES.items():
        (root / name).write_text(text(), encoding="utf-8")
        print(f"wrote {name}")


if __name__ == "__main__":
    main()
