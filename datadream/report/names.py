"""What rows are called, so that no two look alike: of one method by the values that differ, of one source name by what
the sets are, of one backbone name by the models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from datadream.canonical import short_id
from datadream.home.facts import RunFacts, Traits
from datadream.text import ID_LENGTH

SHOWN_VALUES = 4  # differing settings that a row is named by; beyond that a digest tells
Key = tuple[str, int]
Texts = Mapping[str, str]

# Of these traits of a set, the first is said instead of those that follow from it.
FOLLOWS = {
    "classes": ("prompts",),
    "layout": ("test images", "val images"),
    "split seed": ("test images", "val images"),
    "folder": (),
}
SET_TRAITS = ("layout", "sampler", "split seed", "classes", "prompts", "test images", "val images", "folder")
MODEL_TRAITS = ("diffusion", "clip")


@dataclass(frozen=True)
class Names:
    """Of one row. The notes and `settings` are "" where nothing needs to be told apart."""

    source: str
    source_note: str
    backbone: str
    backbone_note: str
    settings: str


def name_rows(groups: Sequence[tuple[str, int, Sequence[RunFacts]]]) -> dict[Key, Names]:
    """The names of each row, given as its key, its version and its runs."""
    newest = {(key, version): max(runs, key=_age) for key, version, runs in groups}
    sources = _sources(newest)
    backbones = _backbones(newest)
    settings = _settings(groups, newest)
    return {row: Names(*sources[row], *backbones[row], settings[row]) for row in newest}


def _age(run: RunFacts) -> tuple[str, str]:
    return run.created, run.id


def _sources(newest: Mapping[Key, RunFacts]) -> dict[Key, tuple[str, str]]:
    """One name for every set of equal contents, and what sets it apart from others of that name."""
    by_frame: dict[str, RunFacts] = {}
    for run in sorted(newest.values(), key=_age):
        by_frame[run.traits.set.get("frame", "")] = run
    notes: dict[str, str] = {}
    for name in {run.source for run in by_frame.values()}:
        alike = {frame: run.traits.set for frame, run in by_frame.items() if run.source == name}
        notes |= _differences(alike, SET_TRAITS)
    frames = {row: run.traits.set.get("frame", "") for row, run in newest.items()}
    return {row: (by_frame[frame].source, notes[frame]) for row, frame in frames.items()}


def _backbones(newest: Mapping[Key, RunFacts]) -> dict[Key, tuple[str, str]]:
    """The same for the models. A row without a generator goes by its CLIP, and by the name of rows that use that."""
    called: dict[tuple[str, str], RunFacts] = {}
    for run in sorted(newest.values(), key=_age):
        called[_models(run.traits)] = run
    found: dict[Key, tuple[str, str]] = {}
    for row, run in newest.items():
        diffusion, clip = _models(run.traits)
        others = [other.backbone for (a, b), other in called.items() if a and b == clip]
        name = called[diffusion, clip].backbone
        if not diffusion and others and name not in others:
            name = others[-1]
        found[row] = name, ""
    for name in {name for name, _ in found.values()}:
        alike = {row: _models(newest[row].traits) for row, (called_, _) in found.items() if called_ == name}
        for at, what in enumerate(MODEL_TRAITS):
            if len({models[at] for models in alike.values()} - {""}) > 1:
                for row, models in alike.items():
                    if models[at]:
                        note = ", ".join(filter(None, [found[row][1], f"{what} {models[at]}"]))
                        found[row] = name, note
    return found


def _models(traits: Traits) -> tuple[str, str]:
    return traits.models.get("diffusion", ""), traits.models.get("clip", "")


def _settings(groups: Sequence[tuple[str, int, Sequence[RunFacts]]], newest: Mapping[Key, RunFacts]) -> dict[Key, str]:
    """Overrides, else the values that differ from those of rows of the same method; then what is left out."""
    base = {
        (key, version): min((run.traits.overrides for run in runs), key=lambda text: (len(text), text))
        for key, version, runs in groups
    }
    alike: dict[tuple[str, ...], dict[str, Texts]] = {}
    for row, run in newest.items():
        alike.setdefault(_family(run, base[row]), {})[short_id(dict(run.traits.recipe))] = run.traits.recipe
    texts = {family: _differences(variants, ()) for family, variants in alike.items()}
    found = {}
    for key, version, runs in groups:
        row = key, version
        run = newest[row]
        apart = texts[_family(run, base[row])][short_id(dict(run.traits.recipe))]
        parts = [base[row], apart, _left_out(runs), _earlier(version, runs)]
        found[row] = " ".join(filter(None, parts))
    return _unique(found, newest)


def _family(run: RunFacts, overrides: str) -> tuple[str, ...]:
    """Rows that would be called the same: of one method, set of overrides, and stages (which follow from the mix)."""
    return run.method, overrides, *sorted({name.partition(".")[0] for name in run.traits.recipe})


def _left_out(runs: Sequence[RunFacts]) -> str:
    """`without 3 marked`, or `without 2 to 5 marked` where seeds differ."""
    counts = sorted({run.left_out for run in runs if run.left_out})
    if not counts:
        return ""
    return f"without {counts[0]:,} marked" if len(counts) == 1 else f"without {counts[0]:,} to {counts[-1]:,} marked"


def _earlier(version: int, runs: Sequence[RunFacts]) -> str:
    """What a row is that holds draws which newer ones have taken the place of."""
    if not version:
        return ""
    listed = ", ".join(f"seed {run.seed} of set {run.set_id[:ID_LENGTH]}" for run in sorted(runs, key=lambda r: r.seed))
    return f"earlier draw: {listed}"


def _unique(found: dict[Key, str], newest: Mapping[Key, RunFacts]) -> dict[Key, str]:
    """No two rows of one method, mix, shots and place share a text: a piece of the key is added where they would."""
    seen: dict[tuple[object, ...], list[Key]] = {}
    for row, text in found.items():
        run = newest[row]
        seen.setdefault((run.method, run.data, run.shots, run.place, _models(run.traits), text), []).append(row)
    for rows in seen.values():
        if len(rows) > 1:
            for row in rows:
                found[row] = f"{found[row]} row {row[0][:ID_LENGTH]}".strip()
    return found


def _differences(variants: Mapping[str, Texts], names: Sequence[str]) -> dict[str, str]:
    """Of each variant the traits (all, or `names` in that order) whose values differ; "" for a single one."""
    if len(variants) < 2:
        return dict.fromkeys(variants, "")
    ordered = names or sorted({name for traits in variants.values() for name in traits})
    differ = [name for name in ordered if len({traits.get(name, "") for traits in variants.values()}) > 1]
    if names:
        implied = {follower for name in differ for follower in FOLLOWS.get(name, ())}
        differ = [name for name in differ if name not in implied]
    found = {key: _said(traits, differ, bool(names)) for key, traits in variants.items()}
    if len(set(found.values())) < len(found):
        found = {key: f"{text} ({key[:ID_LENGTH]})".strip() for key, text in found.items()}
    return found


def _said(traits: Texts, names: Sequence[str], whole: bool) -> str:
    """`classes "cat", "dog", folder /a/pets`; or `adapt.rank=8 adapt.steps=80 ...`, cut where it isn't `whole`."""
    if whole:
        return ", ".join(f"{name} {traits[name]}" for name in names if traits.get(name))
    cut = " ..." if len(names) > SHOWN_VALUES else ""
    return " ".join(f"{name}={traits.get(name, '')}" for name in names[:SHOWN_VALUES]) + cut
