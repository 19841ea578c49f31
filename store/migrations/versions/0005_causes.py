"""Why a job is in its state, as code asks for it, and whether it is paused; jobs are read once more to fill that in.

The list of kinds leaves the table of artifacts: a new stage makes a new kind. Of the ways to drop a constraint this is
the one SQLite names for what changes nothing stored (sqlite.org/lang_altertable.html, section 7); a new table in place
of the old one would take the lineage with it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

LISTED = "CONSTRAINT ck_kind CHECK (kind IN ('set', 'adapter', 'synthetic', 'shard', 'classifier', 'rehearsal')), \n\t"


def upgrade() -> None:
    """Apply."""
    op.add_column("job", sa.Column("cause", sa.String(), nullable=False, server_default=""))
    op.add_column("job", sa.Column("paused", sa.Boolean(), nullable=False, server_default="0"))
    op.execute("DELETE FROM mark WHERE path = 'jobs' OR path LIKE 'held/%'")
    op.execute("UPDATE mark SET value = 0 WHERE path LIKE 'jobs/%'")
    connection = op.get_bind()
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    connection.execute(
        sa.text("UPDATE sqlite_schema SET sql = replace(sql, :listed, '') WHERE type = 'table' AND name = 'artifact'"),
        {"listed": LISTED},
    )
    connection.exec_driver_sql(f"PRAGMA schema_version = {int(version) + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = OFF")
