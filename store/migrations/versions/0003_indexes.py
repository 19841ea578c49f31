"""Indexes that hold all that the comparison shows, and every order a list of runs can be in."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

OLD = ("comparison", "accuracy", "shots", "set_id", "classifier_id")
CELL = ("source", "backbone", "split", "shots", "method", "settings", "data", "seed", "created", "accuracy")
SORTS = (
    *("method", "data", "shots", "seed", "accuracy", "source", "backbone", "settings", "split", "correct", "total"),
    *("seconds", "set_id", "classifier_id", "synthetic_id", "adapter_id"),
)


def upgrade() -> None:
    """Apply."""
    for name in OLD:
        op.drop_index(f"ix_run_{name}", table_name="run")
    op.create_index("ix_run_comparison", "run", [*CELL, "id", "correct", "total"])
    for name in SORTS:
        op.create_index(f"ix_run_{name}", "run", [name, "id"])
