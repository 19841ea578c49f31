"""What can be listed: a noun is what the command line calls a table, with its columns by the names users know."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlmodel import Float, Integer, SQLModel


@dataclass(frozen=True)
class Noun:
    """Columns by name, in the order shown, and where they come from. `newest` orders a page nobody sorted."""

    source: str
    columns: dict[str, str]
    newest: str = "created"
    present: str = ""


def _artifact(table: str, columns: dict[str, str]) -> Noun:
    shared = {
        "created": "a.created",
        "bytes": "a.bytes",
        "files": "a.files",
        "seconds": "a.seconds",
        "device": "a.device",
        "version": "a.version",
    }
    return Noun(f"artifact a JOIN {table} d ON d.id = a.id", {"id": "a.id", **columns, **shared}, present="a.present")


# A run is what its jobs are: done once it has a number, else as the one of them that says most of how it goes on; its
# synthetic set's shards count. `missing`: no job is left of it, or its classifier was removed since.
OF_RUN = """(SELECT j.{} FROM job j WHERE (j.id IN (r.classifier_id, r.synthetic_id, r.adapter_id) OR j.id IN
    (SELECT i.parent FROM job_input i WHERE i.job = r.synthetic_id AND i.role = 'shard')) AND j.state != 'done'
    ORDER BY CASE j.state WHEN 'failed' THEN 0 WHEN 'lost' THEN 1 WHEN 'cancelled' THEN 2 WHEN 'cancelling' THEN 3
    WHEN 'running' THEN 4 WHEN 'queued' THEN 5 ELSE 6 END LIMIT 1)"""
STATE = "CASE WHEN r.accuracy IS NOT NULL THEN 'done' ELSE coalesce({}, 'missing') END".format(OF_RUN.format("state"))
MADE = "(SELECT a.created FROM artifact a WHERE a.id = r.classifier_id AND a.present)"
ENDED = "nullif(CASE WHEN r.accuracy IS NULL THEN {} ELSE coalesce({}, {}) END, '')".format(
    OF_RUN.format("ended"), "(SELECT nullif(j.ended, '') FROM job j WHERE j.id = r.classifier_id)", MADE
)
NAME = "(SELECT min(name) FROM set_name n WHERE n.set_id = {})"
NOUNS: dict[str, Noun] = {
    "set": _artifact(
        "shot_set",
        {
            "name": NAME.format("a.id"),
            **{name: f"d.{name}" for name in ("source", "shots", "seed", "split_seed")},
            "classes": "d.num_classes",
            **{name: f"d.{name}" for name in ("train", "val", "test")},
        },
    ),
    "adapter": _artifact(
        "adapter",
        {
            "set": "d.set_id",
            "per": "d.per",
            "rank": "d.rank",
            "shots": "CAST((SELECT shots FROM shot_set s WHERE s.id = d.set_id) AS INTEGER)",
            "seed": "a.seed",
        },
    ),
    "synth": _artifact(
        "synthetic_set",
        {
            "adapter": "d.adapter_id",
            "images_per_class": "d.images_per_class",
            "num_classes": "d.num_classes",
            "guidance_scale": "d.guidance_scale",
            "num_inference_steps": "d.num_inference_steps",
            "seed": "a.seed",
        },
    ),
    "classifier": _artifact(
        "classifier",
        {
            "data": "d.data",
            "accuracy": "CAST(100.0 * d.correct / nullif(d.total, 0) AS REAL)",
            "correct": "d.correct",
            "total": "d.total",
            "split": "d.split",
            "set": "d.set_id",
            "synth": "d.synthetic_id",
            "seed": "a.seed",
            "steps": "d.steps",
            "image_passes": "d.image_passes",
        },
    ),
    "run": Noun(
        "run r",
        {
            "id": "r.id",
            "state": STATE,
            **{
                name: f"r.{name}"
                for name in (
                    *("method", "data", "shots", "seed", "accuracy", "source", "backbone", "settings", "split"),
                    *("correct", "total", "seconds"),
                )
            },
            "submitted": "r.created",
            "created": MADE,
            "ended": ENDED,
            "set": "r.set_id",
            "classifier": "r.classifier_id",
            "synth": "r.synthetic_id",
            "adapter": "r.adapter_id",
            "row": "r.row_key",
        },
        newest="submitted",
    ),
    "job": Noun(
        "job j",
        {
            "id": "j.id",
            "state": "j.state",
            "stage": "j.stage",
            "progress": "CAST(CASE WHEN j.state = 'done' THEN 1.0 WHEN j.total > 0 "
            "THEN round(1.0 * j.done / j.total, 4) ELSE 0.0 END AS REAL)",
            "title": "j.title",
            "reason": "j.reason",
            **{
                name: f"j.{name}"
                for name in (
                    *("attempts", "slot", "priority", "experiment", "seconds", "submitted", "started", "ended", "done"),
                    *("total", "unit", "launcher", "kind", "bad_lines", "cause", "paused"),
                )
            },
        },
        newest="submitted",
    ),
    "experiment": Noun(
        "experiment e",
        {
            "id": "e.id",
            "name": "e.name",
            "runs": "CAST((SELECT count(*) FROM experiment_run x WHERE x.experiment = e.id) AS INTEGER)",
            "done": "CAST((SELECT count(*) FROM experiment_run x JOIN run r ON r.id = x.run "
            "WHERE x.experiment = e.id AND r.accuracy IS NOT NULL) AS INTEGER)",
            "created": "e.created",
        },
    ),
}


def a(noun: str) -> str:
    """`a run`, `an adapter`."""
    return f"an {noun}" if noun[0] in "ae" else f"a {noun}"


def columns(noun: str) -> tuple[str, ...]:
    """The names a listing of `noun` can show, sort and filter by."""
    return (*NOUNS[noun].columns, "tags")


def is_number(noun: Noun, name: str) -> bool:
    """Whether a column holds numbers, by its table or its cast."""
    expression = noun.columns[name]
    alias, _, column = expression.partition(".")
    tables = {short: table for table, short in re.findall(r"(\w+) ([a-z])\b", noun.source) if table != "ON"}
    if alias not in tables:
        return expression.startswith("CAST(")
    return isinstance(SQLModel.metadata.tables[tables[alias]].columns[column].type, Integer | Float)
