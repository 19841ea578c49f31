"""Where a CLIP is read from: a folder, or the very commit of the hub that was settled on.

open_clip itself knows no commits. So a hub model is read from the cache's folder of its commit, and an entry of
open_clip's table of weights is told where that commit's file lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import open_clip
from huggingface_hub import hf_hub_download, snapshot_download

from datadream.models.digests import HUB, SUFFIXES, weights_file
from datadream.models.hub import is_commit
from datadream.models.presets import ModelRef, hub_id

WEIGHTS = "open_clip_model.safetensors"


def clip_folder(ref: ModelRef) -> Path | None:
    """The open_clip folder that `ref` is read from, downloaded if need be; None for NAME:TAG and NAME:FILE."""
    if ref.location.startswith(HUB):
        patterns = [f"*{suffix}" for suffix in sorted(SUFFIXES - {".safetensors"})] + ["open_clip*.safetensors"]
        return Path(snapshot_download(hub_id(ref).repo, revision=ref.revision, allow_patterns=patterns))
    return Path(ref.location) if ref.digest and weights_file(ref.location) is None else None


@contextmanager
def clip_pair(ref: ModelRef) -> Iterator[tuple[str, str, Path | None, dict[str, str]]]:
    """For a pair of open_clip's own: its name of the architecture, the tag of its weights, their file where a commit is
    known, and what the tokenizer must be told. While it lasts, open_clip finds the file of the commit under that tag.
    """
    name, _, tag = ref.location.partition(":")
    name = name.replace("/", "-")
    entry = open_clip.get_pretrained_cfg(name, tag)
    repo, _, file = str(entry.get("hf_hub", "")).rpartition("/")
    if not is_commit(ref.revision) or not repo:
        yield name, tag, None, {}
        return
    path = hf_hub_download(repo, f"{Path(file).stem}.safetensors" if file else WEIGHTS, revision=ref.revision)
    config = open_clip.get_model_config(name) or {}
    own_tokenizer = config.get("text_cfg", {}).get("hf_tokenizer_name") == repo
    entry["file"] = path
    try:
        yield name, tag, Path(path), {"revision": str(ref.revision)} if own_tokenizer else {}
    finally:
        del entry["file"]
