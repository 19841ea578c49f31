"""Prompts that an encoder cuts, or can't tell apart, are told before a job is queued and again by the worker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import CLIPTokenizer

from datadream.data.prompts import ClassInfo, prompt
from datadream.data.seen import Seen, remarks
from datadream.home.layout import Home
from datadream.home.sets import make_set
from datadream.models.clip import load_clip
from datadream.models.diffusion import load_diffusion
from datadream.models.presets import Backbone, ModelRef
from datadream.models.tokens import Tokens, clip_tokens, diffusion_tokens
from datadream.stages.told import warn_of_clip, warn_of_diffusion
from tests.conftest import TINY_OPTIONS, Cli

LONG = "animal of a small and domestic kind that people like to keep at home:"
PIECES = (
    "cat",
    "Dog's",
    " ",
    "12",
    "é",
    "e\u0301",
    "鳥",
    "&lt;",
    "!",
    "?!",
    "\t",
    "I'LL",
    "ﬁ",
    "ß",
    "\u202e",
    "_",
    "--",
    "😀",
)
TEXTS = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)


def classes(*names: str) -> tuple[ClassInfo, ...]:
    return tuple(ClassInfo(folder=f"c{i}", name=name) for i, name in enumerate(names))


def said(tokens: Tokens, *names: str) -> list[str]:
    found = classes(*names)
    return remarks(
        "CLIP", tokens.limit, lambda texts: [Seen(*pair) for pair in tokens.read(texts)], found, [*map(prompt, found)]
    )


def in_worker(mini: Backbone, *names: str) -> list[str]:
    events: list[dict[str, Any]] = []
    found = classes(*names)
    prompts = [*map(prompt, found)]
    warn_of_clip(load_clip(mini.clip), found, prompts, events.append)
    warn_of_diffusion(load_diffusion(mini.diffusion), found, prompts, events.append)
    assert {event["kind"] for event in events} <= {"warning"}
    return [event["text"] for event in events]


def before(mini: Backbone, *names: str) -> list[str]:
    clip, diffusion = clip_tokens(mini.clip), diffusion_tokens(mini.diffusion)
    assert clip is not None and diffusion is not None
    return said(clip, *names) + [text.replace("CLIP", "the diffusion model") for text in said(diffusion, *names)]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("cat", "dog"), ()),
        ((f"{LONG} cat", f"{LONG} dog"), ("are the same text", "reads 16 tokens", "2 prompts are longer")),
        (("cat", f"{LONG} dog"), ("1 prompt is longer than the 16 tokens",)),
        (("Café", "cafe\u0301"), ("are the same text", "differ only in what it ignores")),
        (("A  B".replace("  ", " "), "a b"), ("are the same text",)),
    ],
)
def test_both_encoders_say_the_same_before_and_in_the_worker(
    names: tuple[str, ...], words: tuple[str, ...], mini: Backbone
) -> None:
    early = before(mini, *names)
    assert in_worker(mini, *names) == early
    for word in words:
        assert len([text for text in early if word in text]) == 2, early
    assert bool(early) == bool(words)


def test_a_name_of_which_nothing_is_seen_is_named() -> None:
    tokens = clip_tokens(ModelRef(location="ViT-B-16-quickgelu:openai"))
    assert tokens is not None
    assert tokens.limit == 77
    (text,) = said(tokens, "\x07", "dog")
    assert text == "CLIP ignores the whole name of '\\x07'; give another name in classes.csv"


def test_names_a_long_way_in_are_cut_for_true_models_too() -> None:
    tokens = clip_tokens(ModelRef(location="ViT-B-16-quickgelu:openai"))
    assert tokens is not None
    assert said(tokens, "cat " * 71, "cat " * 71 + "dog")  # 4 words, 71 times cat: 77 with start and end
    assert not said(tokens, "cat " * 70, "cat " * 71)


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_tokens_are_those_of_open_clip(text: str) -> None:
    tokens = clip_tokens(ModelRef(location="ViT-B-16-quickgelu:openai"))
    assert tokens is not None
    theirs = open_clip.get_tokenizer("ViT-B-16-quickgelu")
    assert tokens.ids(text)[1:-1] == theirs.encode(text)


@pytest.fixture(scope="module")
def old_layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder whose tokenizer is vocab.json and merges.txt, as Stable Diffusion 1.5 has it."""
    folder = tmp_path_factory.mktemp("sd")
    theirs = open_clip.get_tokenizer("ViT-B-16-quickgelu")
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocab = {names.get(word, word): number for word, number in theirs.encoder.items()}
    files = {
        "tokenizer/vocab.json": json.dumps(vocab),
        "tokenizer/merges.txt": "#version: 0.2\n" + "\n".join(" ".join(pair) for pair in theirs.bpe_ranks),
        "tokenizer/tokenizer_config.json": json.dumps({"model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}),
        "text_encoder/config.json": json.dumps({"max_position_embeddings": 64}),
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_tokens_are_those_of_transformers(text: str) -> None:
    mine, theirs = OLD["mine"], OLD["theirs"]
    assert mine.ids(text) == theirs(text, truncation=False).input_ids


OLD: dict[str, Any] = {}


@pytest.fixture(scope="module", autouse=True)
def _old(old_layout: Path) -> None:
    OLD["mine"] = diffusion_tokens(ModelRef(location=str(old_layout), digest="x"))
    OLD["theirs"] = CLIPTokenizer.from_pretrained(old_layout / "tokenizer")


def test_the_smaller_of_two_lengths_counts() -> None:
    assert OLD["mine"].limit == 64


def test_models_that_are_not_here_or_damaged_are_left_to_the_worker(tmp_path: Path) -> None:
    assert diffusion_tokens(ModelRef(location="org/name")) is None
    assert clip_tokens(ModelRef(location="hf-hub:org/name")) is None
    assert clip_tokens(ModelRef(location="no-such-model:openai")) is None
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {"text_cfg": {"hf_tokenizer_name": "x"}}}')
    (tmp_path / "tokenizer.json").write_text("[]")
    assert clip_tokens(ModelRef(location=str(tmp_path), digest="x")) is None
    assert diffusion_tokens(ModelRef(location=str(tmp_path), digest="x")) is None


def test_a_run_says_so_before_it_queues_and_only_once(tmp_path: Path, cli: Cli, home: Home) -> None:
    root = tmp_path / "pets"
    for label, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for i in range(6):
            Image.new("RGB", (16, 16), (40 * i, 90 * label, 7)).save(root / name / f"{i}.png")
    (root / "classes.csv").write_text(f'folder,name\ncat,"{LONG} cat"\ndog,"{LONG} dog"\n')
    make_set(home, str(root), 1, 1, split_seed=0, name="long", check="all")
    ran = cli("run", "zero-shot", "--set", "long", *TINY_OPTIONS[-4:])
    assert ran.returncode == 0, ran.stderr
    lines = ran.stderr.splitlines()
    assert len([line for line in lines if "are the same text for CLIP" in line]) == 1
    assert lines.index(next(line for line in lines if "same text" in line)) < lines.index(
        next(line for line in lines if line.startswith("start"))
    )
    events = next((home.path / "jobs").glob("*/events.jsonl")).read_text(encoding="utf-8")
    assert "are the same text for CLIP" in events
