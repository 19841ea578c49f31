"""The registry's tables: an index of a home's folders. Every row can be made again from them.

Times are UTC, ISO 8601 with microseconds (`2026-11-24T06:30:00.000000+00:00`), so text order is time order. Sizes
are bytes. A row that is referred to but whose folder is gone stays as a stub (`present` false), so that lineage
survives and every foreign key holds.
"""

from __future__ import annotations

from typing import Any, get_args

from sqlalchemy import JSON, CheckConstraint, Column, ForeignKey, Index, Integer, String
from sqlmodel import Field, SQLModel

from datadream.stages.table import Kind

KINDS: tuple[str, ...] = get_args(Kind)
STATES = ("queued", "blocked", "running", "cancelling", "done", "failed", "cancelled", "lost")


def _one_of(column: str, words: tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(f"'{word}'" for word in words)
    return CheckConstraint(f"{column} IN ({listed})", name=f"ck_{column}")


class Artifact(SQLModel, table=True):
    """A finished thing: one row for each folder below artifacts/. `content` is one digest over its files."""

    __tablename__ = "artifact"
    __table_args__ = (
        CheckConstraint("bytes >= 0 AND files >= 0", name="ck_sizes"),
        Index("ix_artifact_kind_created", "kind", "created"),
    )
    id: str = Field(primary_key=True)
    kind: str
    present: bool = True
    created: str = ""
    bytes: int = 0
    files: int = 0
    content: str = ""
    seed: int | None = None
    model: str = ""
    seconds: float | None = None
    device: str = ""
    version: str = ""
    job: str = ""
    spec: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))


class Lineage(SQLModel, table=True):
    """`child` was made from `parent`, which it calls `role` (set, adapter, synthetic)."""

    __tablename__ = "lineage"
    __table_args__ = (Index("ix_lineage_parent", "parent"),)
    child: str = Field(primary_key=True, foreign_key="artifact.id", ondelete="CASCADE")
    role: str = Field(primary_key=True)
    parent: str = Field(primary_key=True, foreign_key="artifact.id")


class ShotSetRow(SQLModel, table=True):
    """What a few-shot set holds, counted in images."""

    __tablename__ = "shot_set"
    id: str = Field(primary_key=True, foreign_key="artifact.id", ondelete="CASCADE")
    source: str
    shots: int
    seed: int
    split_seed: int
    num_classes: int
    train: int
    val: int
    test: int


class SetName(SQLModel, table=True):
    """A user's name for a set."""

    __tablename__ = "set_name"
    name: str = Field(primary_key=True)
    set_id: str = Field(foreign_key="artifact.id", index=True)


class AdapterRow(SQLModel, table=True):
    """One LoRA for a dataset, or one a class."""

    __tablename__ = "adapter"
    id: str = Field(primary_key=True, foreign_key="artifact.id", ondelete="CASCADE")
    set_id: str = Field(foreign_key="artifact.id", index=True)
    per: str
    rank: int
    steps: int | None = None


class SyntheticRow(SQLModel, table=True):
    """A synthetic set; without an adapter it was drawn by the untouched model."""

    __tablename__ = "synthetic_set"
    id: str = Field(primary_key=True, foreign_key="artifact.id", ondelete="CASCADE")
    adapter_id: str | None = Field(default=None, foreign_key="artifact.id", index=True)
    images_per_class: int
    num_classes: int
    guidance_scale: float
    num_inference_steps: int


class ClassifierRow(SQLModel, table=True):
    """A trained classifier and its exact counts on the images it reports."""

    __tablename__ = "classifier"
    __table_args__ = (CheckConstraint("correct BETWEEN 0 AND total", name="ck_correct"),)
    id: str = Field(primary_key=True, foreign_key="artifact.id", ondelete="CASCADE")
    set_id: str = Field(foreign_key="artifact.id", index=True)
    synthetic_id: str | None = Field(default=None, foreign_key="artifact.id", index=True)
    data: str
    split: str
    correct: int
    total: int
    steps: int = 0
    image_passes: int = 0


# A list of runs is sorted by any of these, and then by id: read off an index, 100,000 take 23 ms and not 70 to 190.
RUN_SORTS = (
    *("method", "data", "shots", "seed", "accuracy", "source", "backbone", "settings", "split", "correct", "total"),
    *("seconds", "set_id", "classifier_id", "synthetic_id", "adapter_id", "row_key"),
)


class Run(SQLModel, table=True):
    """One number of a comparison: a method on a set with a mix of data. Its accuracy and costs are its artifacts'.

    Runs of equal `row_key` share a row of the comparison ("" for one of which can't be told what was run); rows of
    equal `place` and shots are rivals; `draw` stands for the shots and `left_out` counts images left out; `traits`
    names a row of `trait` (see datadream/home/facts.py, which fills these in).
    """

    __tablename__ = "run"
    __table_args__ = (
        Index("ix_run_created", "created", "id"),
        Index("ix_run_cell", "source", "method", "data", "shots", "seed"),
        Index(
            "ix_run_comparison",
            *("row_key", "seed", "draw", "created", "id", "classifier_id", "accuracy"),  # what is grouped
            *("source", "backbone", "split", "shots", "method", "settings", "data"),  # what is usually filtered by
        ),
        Index("ix_run_traits", "traits"),
        *(Index(f"ix_run_{name}", name, "id") for name in RUN_SORTS),
    )
    id: str = Field(primary_key=True)
    method: str
    settings: str
    data: str
    source: str
    shots: int
    seed: int
    split_seed: int
    backbone: str
    created: str
    set_id: str = Field(foreign_key="artifact.id")
    classifier_id: str = Field(foreign_key="artifact.id")
    synthetic_id: str | None = Field(default=None, foreign_key="artifact.id")
    adapter_id: str | None = Field(default=None, foreign_key="artifact.id")
    split: str = ""
    accuracy: float | None = None  # percent top-1; none until the classifier is there
    correct: int | None = None
    total: int | None = None
    seconds: float | None = None
    row_key: str = ""
    place: str = ""
    draw: str = ""
    traits: str = ""
    images: int = 0
    left_out: int = 0
    steps: int = 0
    image_passes: int = 0
    adapt_seconds: float | None = None
    generate_seconds: float | None = None
    classify_seconds: float | None = None


class Trait(SQLModel, table=True):
    """What runs are in words: recipe values, models, set. The id is a hash of the content."""

    __tablename__ = "trait"
    id: str = Field(primary_key=True)
    content: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))


class Job(SQLModel, table=True):
    """A job's state as last derived from its folder."""

    __tablename__ = "job"
    __table_args__ = (
        _one_of("state", STATES),
        CheckConstraint("attempts >= 0", name="ck_attempts"),
        Index("ix_job_state_submitted", "state", "submitted"),
        Index("ix_job_submitted", "submitted", "id"),
        Index("ix_job_experiment", "experiment"),
    )
    id: str = Field(primary_key=True)
    stage: str
    kind: str  # what it makes; the artifact has the job's id
    title: str = ""
    state: str
    reason: str = ""
    cause: str = ""  # of the reason, as code asks for it
    paused: bool = False
    done: int = 0
    total: int = 0
    unit: str = ""
    attempts: int = 0
    priority: int = 0
    experiment: str = ""
    slot: str = ""
    launcher: str = "local"
    submitted: str = ""
    started: str = ""
    ended: str = ""
    seconds: float | None = None
    bad_lines: int = 0  # torn or foreign lines among its events


class JobInput(SQLModel, table=True):
    """An artifact a job waits for; it may not exist yet, so this is no foreign key."""

    __tablename__ = "job_input"
    __table_args__ = (Index("ix_job_input_parent", "parent"),)
    job: str = Field(primary_key=True, foreign_key="job.id", ondelete="CASCADE")
    role: str = Field(primary_key=True)
    parent: str = Field(primary_key=True)


class Transition(SQLModel, table=True):
    """A change of a job's state, in order of `seq`, with its reason."""

    __tablename__ = "transition"
    job: str = Field(primary_key=True, foreign_key="job.id", ondelete="CASCADE")
    seq: int = Field(primary_key=True)
    at: str
    state: str
    reason: str = ""
    attempt: int = 0


class Metric(SQLModel, table=True):
    """One point of a job's curve. A step told twice (a resume repeats some) holds its last value."""

    __tablename__ = "metric"
    __table_args__ = {"sqlite_with_rowid": False}
    job: str = Field(sa_column=Column(String, ForeignKey("job.id", ondelete="CASCADE"), primary_key=True))
    name: str = Field(primary_key=True)
    step: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    value: float


class Experiment(SQLModel, table=True):
    """A named grid of runs."""

    __tablename__ = "experiment"
    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    created: str


class ExperimentRun(SQLModel, table=True):
    """A run belongs to an experiment; the run's record may not be there."""

    __tablename__ = "experiment_run"
    __table_args__ = (Index("ix_experiment_run_run", "run"),)
    experiment: str = Field(primary_key=True, foreign_key="experiment.id", ondelete="CASCADE")
    run: str = Field(primary_key=True)


class Tag(SQLModel, table=True):
    """A user's word on anything with an id (artifact, run, job, experiment)."""

    __tablename__ = "tag"
    __table_args__ = (Index("ix_tag_label", "label"),)
    subject: str = Field(primary_key=True)
    label: str = Field(primary_key=True)


class Note(SQLModel, table=True):
    """A user's sentence on anything with an id."""

    __tablename__ = "note"
    subject: str = Field(primary_key=True)
    text: str
    updated: str


class Problem(SQLModel, table=True):
    """A folder or file that can't be read: listed, never in the way."""

    __tablename__ = "problem"
    path: str = Field(primary_key=True)  # relative to the home
    what: str


class Mark(SQLModel, table=True):
    """How far a folder or file has been read; the only table that isn't rebuilt row for row."""

    __tablename__ = "mark"
    path: str = Field(primary_key=True)
    value: int
