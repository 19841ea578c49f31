"""What several tests of the app look at, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.registry import fill
from datadream.home.layout import open_home
from store.registry import Registry


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose registry knows 100,000 runs; 256 rows of one source and number of shots are rivals."""
    home = open_home(tmp_path_factory.mktemp("many") / "home")
    registry = Registry.open(home.registry, home.registry_lock)
    fill(registry, 100_000)
    with registry.writing() as session:
        session.connection().exec_driver_sql(
            "UPDATE run SET settings = 'b=' || substr(id, 1, 2), row_key = 'b' || substr(id, 1, 2), "
            "place = 'data0' WHERE source = 'data0' AND shots = 1"
        )
    registry.close()
    return home.path
