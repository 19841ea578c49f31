"""Bring a registry to the newest revision with Alembic. Imported only when there is something to do."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine


def config(engine: Engine) -> Config:
    """Alembic's configuration for one open database; no .ini file."""
    found = Config()
    found.set_main_option("script_location", str(Path(__file__).parent))
    found.attributes["engine"] = engine
    return found


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Run what is missing up to `revision`."""
    command.upgrade(config(engine), revision)
