"""The index on SQLite and on PostgreSQL: every test that asks for `index` runs on both."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from db.index import Index
from db.schema import load_schema
from db.settings import DbSettings

DATABASES = ["sqlite", "postgresql"]


@contextmanager
def empty_database(request: pytest.FixtureRequest) -> Iterator[Callable[..., DbSettings]]:
    """Give what makes the settings of an empty database, the same one in each call."""
    if request.param == "sqlite":
        yield lambda **others: DbSettings(**({"SqLite": True, "SQLServer": "data/index.db3"} | others))
        return
    server = request.getfixturevalue("postgresql")
    name = server.create_database()
    place = {"PostGres": True, "SQLServer": name, "SQLHost": str(server.socket), "Username": "dgate"}
    try:
        yield lambda **others: DbSettings(**(place | others))
    finally:
        server.drop_database(name)


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest) -> Iterator[Callable[..., DbSettings]]:
    with empty_database(request) as settings:
        yield settings


@pytest.fixture
def open_index(database: Callable[..., DbSettings], tmp_path: Path) -> Iterator[Callable[..., Index]]:
    """Return what opens the index with settings of one's own, its tables made."""
    with ExitStack() as closing:

        def opened(schema: Path | None = None, **others: Any) -> Index:
            settings = database(**others)
            index = Index(settings, load_schema(schema, settings), tmp_path)
            closing.callback(index.close)
            index.ensure_tables()
            return index

        yield opened


@pytest.fixture
def index(open_index: Callable[..., Index]) -> Index:
    return open_index()


@pytest.fixture(scope="module", params=DATABASES)
def shared_index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """One index for all tests of a module, which keep out of each other's way."""
    with empty_database(request) as make:
        settings = make(EnableComputedFields=True)
        index = Index(settings, load_schema(None, settings), tmp_path_factory.mktemp("shared"))
        index.ensure_tables()
        yield index
        index.close()
