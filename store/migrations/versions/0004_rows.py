"""What a run is, so that a comparison groups by that; run records are read once more to fill it in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TEXTS = ("row_key", "place", "draw", "traits")
COUNTS = ("images", "left_out", "steps", "image_passes")
SECONDS = ("adapt_seconds", "generate_seconds", "classify_seconds")
GROUPED = ("row_key", "seed", "draw", "created", "id", "classifier_id", "accuracy")
FILTERED = ("source", "backbone", "split", "shots", "method", "settings", "data")


def upgrade() -> None:
    """Apply."""
    for name in TEXTS:
        op.add_column("run", sa.Column(name, sa.String(), nullable=False, server_default=""))
    for name in COUNTS:
        op.add_column("run", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
    for name in SECONDS:
        op.add_column("run", sa.Column(name, sa.Float(), nullable=True))
    op.create_table(
        "trait",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.drop_index("ix_run_comparison", table_name="run")
    op.create_index("ix_run_comparison", "run", [*GROUPED, *FILTERED])
    op.create_index("ix_run_traits", "run", ["traits"])
    op.create_index("ix_run_row_key", "run", ["row_key", "id"])
    op.execute("DELETE FROM mark WHERE path = 'runs' OR path LIKE 'runs/%'")
