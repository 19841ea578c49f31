"""The index of the comparison holds all that the comparison shows."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEY = ("source", "backbone", "split", "shots", "method", "settings", "data", "seed", "created", "accuracy")


def upgrade() -> None:
    """Apply."""
    op.drop_index("ix_run_comparison", table_name="run")
    op.create_index("ix_run_comparison", "run", [*KEY, "id", "correct", "total"])
