"""Artifacts, runs, jobs, metrics, experiments, labels."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "artifact",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("present", sa.Boolean(), nullable=False),
        sa.Column("created", sa.String(), nullable=False),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("content", sa.String(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=True),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("job", sa.String(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('set', 'adapter', 'synthetic', 'shard', 'classifier', 'rehearsal')", name="ck_kind"
        ),
        sa.CheckConstraint("bytes >= 0 AND files >= 0", name="ck_sizes"),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("artifact", schema=None) as batch_op:
        batch_op.create_index("ix_artifact_kind_created", ["kind", "created"], unique=False)

    op.create_table(
        "experiment",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "job",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("unit", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("slot", sa.String(), nullable=False),
        sa.Column("launcher", sa.String(), nullable=False),
        sa.Column("submitted", sa.String(), nullable=False),
        sa.Column("started", sa.String(), nullable=False),
        sa.Column("ended", sa.String(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("bad_lines", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "state IN ('queued', 'blocked', 'running', 'cancelling', 'done', 'failed', 'cancelled', 'lost')",
            name="ck_state",
        ),
        sa.CheckConstraint("attempts >= 0", name="ck_attempts"),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.create_index("ix_job_experiment", ["experiment"], unique=False)
        batch_op.create_index("ix_job_state_submitted", ["state", "submitted"], unique=False)
        batch_op.create_index("ix_job_submitted", ["submitted"], unique=False)

    op.create_table(
        "note",
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("updated", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("subject"),
    )
    op.create_table(
        "tag",
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "label"),
    )
    with op.batch_alter_table("tag", schema=None) as batch_op:
        batch_op.create_index("ix_tag_label", ["label"], unique=False)

    op.create_table(
        "adapter",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("set_id", sa.String(), nullable=False),
        sa.Column("per", sa.String(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("steps", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["id"], ["artifact.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["set_id"],
            ["artifact.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("adapter", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_adapter_set_id"), ["set_id"], unique=False)

    op.create_table(
        "classifier",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("set_id", sa.String(), nullable=False),
        sa.Column("synthetic_id", sa.String(), nullable=True),
        sa.Column("data", sa.String(), nullable=False),
        sa.Column("split", sa.String(), nullable=False),
        sa.Column("correct", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("image_passes", sa.Integer(), nullable=False),
        sa.CheckConstraint("correct BETWEEN 0 AND total", name="ck_correct"),
        sa.ForeignKeyConstraint(["id"], ["artifact.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["set_id"],
            ["artifact.id"],
        ),
        sa.ForeignKeyConstraint(
            ["synthetic_id"],
            ["artifact.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("classifier", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_classifier_set_id"), ["set_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_classifier_synthetic_id"), ["synthetic_id"], unique=False)

    op.create_table(
        "experiment_run",
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("run", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["experiment"], ["experiment.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("experiment", "run"),
    )
    with op.batch_alter_table("experiment_run", schema=None) as batch_op:
        batch_op.create_index("ix_experiment_run_run", ["run"], unique=False)

    op.create_table(
        "job_input",
        sa.Column("job", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("parent", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["job.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", "role", "parent"),
    )
    with op.batch_alter_table("job_input", schema=None) as batch_op:
        batch_op.create_index("ix_job_input_parent", ["parent"], unique=False)

    op.create_table(
        "lineage",
        sa.Column("child", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("parent", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["child"], ["artifact.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["parent"],
            ["artifact.id"],
        ),
        sa.PrimaryKeyConstraint("child", "role", "parent"),
    )
    with op.batch_alter_table("lineage", schema=None) as batch_op:
        batch_op.create_index("ix_lineage_parent", ["parent"], unique=False)

    op.create_table(
        "metric",
        sa.Column("job", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["job.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", "name", "step"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "run",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("method", sa.String(), nullable=False),
        sa.Column("settings", sa.String(), nullable=False),
        sa.Column("data", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("shots", sa.Integer(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("split_seed", sa.Integer(), nullable=False),
        sa.Column("backbone", sa.String(), nullable=False),
        sa.Column("created", sa.String(), nullable=False),
        sa.Column("set_id", sa.String(), nullable=False),
        sa.Column("classifier_id", sa.String(), nullable=False),
        sa.Column("synthetic_id", sa.String(), nullable=True),
        sa.Column("adapter_id", sa.String(), nullable=True),
        sa.Column("split", sa.String(), nullable=False),
        sa.Column("accuracy", sa.Float(), nullable=True),
        sa.Column("correct", sa.Integer(), nullable=True),
        sa.Column("total", sa.Integer(), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["adapter_id"],
            ["artifact.id"],
        ),
        sa.ForeignKeyConstraint(
            ["classifier_id"],
            ["artifact.id"],
        ),
        sa.ForeignKeyConstraint(
            ["set_id"],
            ["artifact.id"],
        ),
        sa.ForeignKeyConstraint(
            ["synthetic_id"],
            ["artifact.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("run", schema=None) as batch_op:
        batch_op.create_index("ix_run_accuracy", ["accuracy"], unique=False)
        batch_op.create_index("ix_run_cell", ["source", "method", "data", "shots", "seed"], unique=False)
        batch_op.create_index(batch_op.f("ix_run_classifier_id"), ["classifier_id"], unique=False)
        batch_op.create_index("ix_run_created", ["created"], unique=False)
        batch_op.create_index(batch_op.f("ix_run_set_id"), ["set_id"], unique=False)
        batch_op.create_index("ix_run_shots", ["shots"], unique=False)

    op.create_table(
        "set_name",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("set_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["set_id"],
            ["artifact.id"],
        ),
        sa.PrimaryKeyConstraint("name"),
    )
    with op.batch_alter_table("set_name", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_set_name_set_id"), ["set_id"], unique=False)

    op.create_table(
        "shot_set",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("shots", sa.Integer(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("split_seed", sa.Integer(), nullable=False),
        sa.Column("num_classes", sa.Integer(), nullable=False),
        sa.Column("train", sa.Integer(), nullable=False),
        sa.Column("val", sa.Integer(), nullable=False),
        sa.Column("test", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["id"], ["artifact.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "synthetic_set",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("adapter_id", sa.String(), nullable=True),
        sa.Column("images_per_class", sa.Integer(), nullable=False),
        sa.Column("num_classes", sa.Integer(), nullable=False),
        sa.Column("guidance_scale", sa.Float(), nullable=False),
        sa.Column("num_inference_steps", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["adapter_id"],
            ["artifact.id"],
        ),
        sa.ForeignKeyConstraint(["id"], ["artifact.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("synthetic_set", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_synthetic_set_adapter_id"), ["adapter_id"], unique=False)
