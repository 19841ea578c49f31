"""The tree around one thing: above it what it was made from, up to the shots; below it what was made from it.

Rows come from the registry, so a thing whose folder is gone is still in its place. Runs in the pool, knows no widget.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from datadream.errors import UserError
from datadream.home.artifacts import read_manifest
from datadream.text import counted, shown
from tui.drawing import glyphs
from tui.screens.run.parts import with_differences
from tui.widgets.branches import Line, Node, lines_of

if TYPE_CHECKING:
    from store.registry import Registry
    from tui.services.data import Data

SHOWN_MAX = 600  # things below one; the nearest
PARTS = {"shard": "a part of a synthetic set", "selection": "the images that a classifier trains on"}
NOUNS = {"set": "set", "adapter": "adapter", "synthetic": "synth", "classifier": "classifier"}
ORDER = ("set", "adapter", "synth", "shard", "job", "classifier", "run")
Row = dict[str, Any]
Parent = tuple[str, str]  # what it is called there, and its id


@dataclass(frozen=True)
class Tree:
    """`root` is the thing asked for; `more` things below it aren't drawn."""

    root: str
    kind: str
    lines: tuple[Line, ...]
    more: int = 0


def read_tree(data: Data, root: str) -> Tree:
    """The tree around the artifact, run or job `root`; around the newest run for "". No lines when there is nothing.

    Raises UserError when nothing has that id.
    """
    from store import queries

    registry = data.registry()
    if not root:
        newest = queries.page(registry, "run", limit=1)
        if not newest:
            return Tree("", "", ())
        root = str(newest[0]["id"])
    run = queries.rows_of(registry, "run", [root])
    anchor = str(run[0]["classifier"]) if run else root
    found = queries.lineage(registry, anchor)
    kinds, parents = _related(data, registry, anchor, found)
    rows = {kind: _rows(registry, kind, [i for i, k in kinds.items() if k == kind]) for kind in NOUNS}
    known = {row["id"]: (kind, row) for kind, found in rows.items() for row in found}
    nodes: dict[str, Node] = {}
    for thing, kind in kinds.items():
        nodes[thing] = _node(*known[thing]) if thing in known else _stub(data, thing, kind)
        if thing in known:
            parents[thing] = _parents(*known[thing])
        elif kind == "selection":
            with suppress(UserError):  # it is gone
                made_from = read_manifest(data.home, "selection", thing)["spec"]["inputs"]
                parents[thing] = [("synth", str(made_from["synthetic"]))]
    counted = [root] if run else [str(row["id"]) for row in found["runs"]]
    for row in with_differences(data, run or queries.rows_of(registry, "run", counted[:SHOWN_MAX])):
        nodes[row["id"]] = _run(row)
        parents[row["id"]] = [("classifier", str(row["classifier"]))]
    if root not in nodes:
        raise UserError(f"no artifact or run {root[:8]}", hint="it may have been removed")
    created = {thing: str(row["created"]) for thing, (_, row) in known.items()}
    lines = _lay_out(nodes, parents, created)
    return Tree(root, nodes[root].kind, tuple(lines), _over(counted) + _over(found["descendants"]))


def _over(things: Sequence[object]) -> int:
    return max(0, len(things) - SHOWN_MAX)


def _related(
    data: Data, registry: Registry, anchor: str, found: dict[str, list[Row]]
) -> tuple[dict[str, str], dict[str, list[Parent]]]:
    """Kinds of the anchor and all that it is made from or is in; parents of a job that has made nothing yet."""
    from datadream.home import state
    from store import queries

    kinds = {str(row["id"]): str(row["kind"]) for row in found["ancestors"]}
    below = found["descendants"]
    parents: dict[str, list[Parent]] = {}
    own = _kind(registry, anchor)
    if own == "job":
        parents[anchor] = sorted(state.read_spec(data.home, anchor).inputs.items(), reverse=True)  # synthetic, set
        for role, parent in parents[anchor]:
            above = queries.lineage(registry, parent)["ancestors"]
            kinds |= {str(row["id"]): str(row["kind"]) for row in above}
            kinds[parent] = _kind(registry, parent) or role
    if own or kinds or below:
        kinds[anchor] = own or "gone"
    kinds |= {str(row["id"]): str(row["kind"]) for row in below[:SHOWN_MAX]}
    return kinds, parents


def _kind(registry: Registry, thing: str) -> str:
    """What a thing is; "" when there is no row of it."""
    from store import queries

    kinds = (kind for kind, noun in (*NOUNS.items(), ("job", "job")) if queries.rows_of(registry, noun, [thing]))
    return next(kinds, "")


def _rows(registry: Registry, kind: str, ids: list[str]) -> list[Row]:
    from store import queries

    return queries.rows_of(registry, NOUNS[kind], ids) if ids else []


def _lay_out(nodes: dict[str, Node], parents: dict[str, list[Parent]], created: dict[str, str]) -> list[Line]:
    """Each node below the nearest thing it was made from; its other inputs are named before its words."""

    def key(thing: str) -> tuple[int, str, str]:
        kind = nodes[thing].kind
        return ORDER.index(kind) if kind in ORDER else len(ORDER), created.get(thing, ""), thing

    upon = {thing: next((p for _, p in parents.get(thing, []) if p in nodes), "") for thing in nodes}
    children: dict[str, list[str]] = {}
    for thing in sorted(nodes, key=key):
        children.setdefault(upon[thing], []).append(thing)
    for thing in list(nodes):
        above = set()
        step = upon[thing]
        while step and step not in above:
            above.add(step)
            step = upon[step]
        others = [f"{role} {p[:8]}" for role, p in parents.get(thing, []) if p not in above]
        if others:
            node = nodes[thing]
            nodes[thing] = replace(node, words=f"with {' and '.join(others)}  {node.words}")
    return lines_of(children, nodes, children.get("", []))


def _parents(kind: str, row: Row) -> list[Parent]:
    """What it was made from, the nearest first."""
    names = {"set": (), "adapter": ("set",), "synthetic": ("adapter",), "classifier": ("synth", "set")}[kind]
    return [(name, str(row[name])) for name in names if row[name]]


def _node(kind: str, row: Row) -> Node:
    """A line's words from its row."""
    fact = words = ""
    if kind == "set":
        fact = shown(row["name"] or "")
        words = f"{shown(row['source'])}, {counted(row['shots'], 'shot')}, seed {row['seed']}"
        words += f", {counted(row['classes'], 'class')}"
    elif kind == "adapter":
        each = "one per class" if row["per"] == "class" else "one for all classes"
        words = f"{each}, rank {row['rank']}"
    elif kind == "synthetic":
        words = f"{counted(row['images_per_class'], 'image')} per class, guidance {row['guidance_scale']:g}"
        words += f", {counted(row['num_inference_steps'], 'step')}"
    else:
        fact = _accuracy(row["accuracy"])
        words = f"{row['data']}, {row['correct']} of {row['total']} {row['split']} images"
    return Node(str(row["id"]), NOUNS[kind], fact, words)


def _run(row: Mapping[str, Any]) -> Node:
    settings = f"  {shown(row['settings'])}" if row["settings"] else ""
    words = f"{shown(row['method'])} {row['data']}, {counted(row['shots'], 'shot')}, seed {row['seed']}{settings}"
    if row["accuracy"] is None:
        text = glyphs.state_text(str(row["state"]))
        return Node(str(row["id"]), "run", text.plain, words, str(text.style))
    return Node(str(row["id"]), "run", _accuracy(row["accuracy"]), words)


def _stub(data: Data, thing: str, kind: str) -> Node:
    """Something of which there is no row: an open job, a shard, or what is gone."""
    from datadream.home import state

    if kind == "job":
        status = state.derive(data.home, thing)
        text = glyphs.state_text(status.state, status.paused)
        return Node(thing, "job", text.plain, shown(status.title or status.stage), str(text.style))
    if kind in PARTS:
        return Node(thing, kind, words=PARTS[kind])
    return Node(thing, NOUNS.get(kind, "thing"), "gone", "its folder is missing or can't be read", "dim")


def _accuracy(value: float | None) -> str:
    return f"{value:.1f}%" if value is not None else "no accuracy yet"
