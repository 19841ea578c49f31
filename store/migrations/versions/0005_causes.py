"""Why a job is in its state, as code asks for it, and whether it is paused; jobs are read once more to fill that in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("job", sa.Column("cause", sa.String(), nullable=False, server_default=""))
    op.add_column("job", sa.Column("paused", sa.Boolean(), nullable=False, server_default="0"))
    op.execute("DELETE FROM mark WHERE path = 'jobs' OR path LIKE 'held/%'")
    op.execute("UPDATE mark SET value = 0 WHERE path LIKE 'jobs/%'")
