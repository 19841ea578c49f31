"""A model's identity is the very bytes that are read: behind links, in a file given by path, at a commit of the hub."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from huggingface_hub import constants

from datadream import canonical
from datadream.errors import UserError
from datadream.models import digests, hub, zoo
from datadream.models.clip import load_clip
from datadream.models.diffusion import load_diffusion
from datadream.models.diffusion_folder import describe_diffusion
from datadream.models.presets import Backbone, ModelRef, load_backbone, pinned, resolve
from datadream.models.verify import check_unchanged, checked
from datadream.plans import request as requests
from datadream.plans.request import Request

WEIGHTS = "diffusion_pytorch_model.safetensors"
# As the first version had them: what was made with the built-in models then is found now.
DIGESTS = (
    "80c4a08f881e71a78947f81e21486a1ad970d79a5f8cd0260a6df054773022f3",
    "bdfcafb2d0bf75e348db32ea9818096b2cb33087544e48db5fb31a689a9e9d87",
)


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    yield
    load_diffusion.cache_clear()
    load_clip.cache_clear()


@pytest.fixture
def sd(mini: Backbone, tmp_path: Path) -> Path:
    return Path(shutil.copytree(mini.diffusion.location, tmp_path / "sd"))


@pytest.fixture
def clip(mini: Backbone, tmp_path: Path) -> Path:
    return Path(shutil.copytree(mini.clip.location, tmp_path / "clip"))


def changed(path: Path) -> None:
    """One more byte of a model, in place."""
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))


def digest(folder: Path) -> str:
    return digests.digest(str(folder))


def test_the_built_in_models_keep_their_identity(mini: Backbone) -> None:
    assert (mini.diffusion.digest, mini.clip.digest) == DIGESTS


def test_what_lies_behind_links_is_part_of_a_model(sd: Path, tmp_path: Path) -> None:
    plain = digest(sd)
    (sd / "unet").rename(tmp_path / "elsewhere")
    without = digest(sd)
    assert without != plain
    (sd / "unet").symlink_to("../elsewhere")
    (sd / "vae" / WEIGHTS).rename(tmp_path / "vae.safetensors")
    (sd / "vae" / WEIGHTS).symlink_to(tmp_path / "vae.safetensors")
    (tmp_path / "linked").symlink_to(sd)
    assert digest(sd) == digest(tmp_path / "linked") == plain
    changed(tmp_path / "elsewhere" / WEIGHTS)
    after = digest(sd)
    assert after != plain
    changed(tmp_path / "vae.safetensors")
    assert digest(sd) not in (after, plain)
    (tmp_path / "elsewhere" / WEIGHTS).write_bytes(b"torn")
    with pytest.raises(UserError, match="empty or truncated"):
        describe_diffusion(sd)


def test_links_in_circles_end(sd: Path) -> None:
    plain = digest(sd)
    (sd / "unet" / "again").symlink_to("..")
    (sd / "vae" / "me").symlink_to(".")
    (sd / "here.json").symlink_to("here.json")
    (sd / "nowhere.json").symlink_to("nothing")
    names = {name for name, _ in digests.model_files(sd)}
    assert not [name for name in names if name.count("again") + name.count("me/") > 2]
    for link in (sd / "unet" / "again", sd / "vae" / "me", sd / "here.json", sd / "nowhere.json"):
        link.unlink()
    assert digest(sd) == plain
    for i in range(9):
        (sd / f"part{i}").mkdir()
        for j in range(9):
            (sd / f"part{i}" / f"to{j}").symlink_to(f"../part{j}")
    with pytest.raises(UserError, match="holds more than 20,000 files"):
        digest(sd)


@pytest.mark.parametrize(
    "name",
    [
        "merges.txt",
        "vocab.json",
        f"{WEIGHTS}.index.json",
        "spiece.model",
        "a-00001-of-00002.safetensors",
        "x.fp16.safetensors",
    ],
)
def test_every_file_a_loader_may_read_counts(name: str, sd: Path) -> None:
    plain = digest(sd)
    path = sd / "tokenizer" / name
    path.write_bytes(b"1")
    one = digest(sd)
    path.write_bytes(b"2")
    assert len({plain, one, digest(sd)}) == 3


def test_the_loaders_need_nothing_that_the_identity_leaves_out(sd: Path, clip: Path, tmp_path: Path) -> None:
    for folder in (sd, clip):
        for name, path in digests.model_files(folder):
            target = tmp_path / "only" / folder.name / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    only = load_backbone("mini", str(tmp_path / "only" / "sd"), str(tmp_path / "only" / "clip"))
    assert (only.diffusion.digest, only.clip.digest) == DIGESTS
    assert load_diffusion(only.diffusion).resolution == load_clip(only.clip).resolution == 32


def test_a_file_is_read_once_while_it_is_the_same(sd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    monkeypatch.setattr(canonical, "FRESH_NS", 0)
    real = canonical.sha256_file
    monkeypatch.setattr(canonical, "sha256_file", lambda path: read.append(path) or real(path))
    first = digest(sd)
    assert digest(sd) == first
    assert len(read) == len(digests.model_files(sd))
    path = sd / "unet" / WEIGHTS
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    changed(path)
    os.utime(path, ns=times)
    assert digest(sd) != first
    assert len(read) == len(digests.model_files(sd)) + 1


# A model that changed since


def test_a_changed_model_is_refused_and_never_served(sd: Path) -> None:
    ref = load_backbone("mini", str(sd)).diffusion
    before = load_diffusion(ref)
    assert load_diffusion(ref) is before
    path = sd / "unet" / WEIGHTS
    whole = path.read_bytes()
    changed(path)
    for _ in range(2):
        with pytest.raises(UserError, match="the model changed after the run was submitted") as caught:
            load_diffusion(ref)
        assert "\n" not in str(caught.value)
    other = load_backbone("mini", str(sd)).diffusion
    assert other.digest != ref.digest
    load_diffusion(other)
    path.write_bytes(whole)
    load_diffusion(ref)
    with pytest.raises(UserError, match="the model changed"):
        load_diffusion(other)


def test_a_model_is_asked_for_by_content_wherever_it_lies(sd: Path, tmp_path: Path) -> None:
    ref = load_backbone("mini", str(sd)).diffusion
    sd.rename(tmp_path / "new")
    with pytest.raises(UserError, match="was moved or removed after the run was submitted"):
        load_diffusion(ref)
    moved = load_backbone("mini", str(tmp_path / "new")).diffusion
    assert moved.identity == ref.identity
    assert moved.location != ref.location


def test_a_model_that_is_written_to_while_it_is_used_is_noticed(sd: Path, tmp_path: Path) -> None:
    """Loaded weights may still lie in their file; a file that took its place is no harm."""
    ref = load_backbone("mini", str(sd)).diffusion
    load_diffusion(ref)
    check_unchanged(ref)
    path = sd / "unet" / WEIGHTS
    shutil.copyfile(path, tmp_path / "copy")
    changed(tmp_path / "copy")
    (tmp_path / "copy").replace(path)
    check_unchanged(ref)
    path = sd / "vae" / WEIGHTS
    changed(path)
    with pytest.raises(UserError, match="the model changed"):
        check_unchanged(ref)


def test_a_linked_part_that_points_elsewhere_by_now_is_another_model(sd: Path, tmp_path: Path) -> None:
    (sd / "unet").rename(tmp_path / "unet1")
    shutil.copytree(tmp_path / "unet1", tmp_path / "unet2")
    changed(tmp_path / "unet2" / WEIGHTS)
    (sd / "unet").symlink_to(tmp_path / "unet1")
    ref = load_backbone("mini", str(sd)).diffusion
    load_diffusion(ref)
    (sd / "unet").unlink()
    (sd / "unet").symlink_to(tmp_path / "unet2")
    with pytest.raises(UserError, match="the model changed"):
        load_diffusion(ref)


# A weights file given by path


@pytest.fixture
def architecture(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The built-in CLIP as one of open_clip's own architectures, with open_clip's tokenizer."""
    config = json.loads((clip / "open_clip_config.json").read_text())["model_cfg"]
    del config["text_cfg"]["hf_tokenizer_name"]
    (tmp_path / "Glyph-32.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "Glyph-32.json")
    monkeypatch.setattr(zoo, "config", lambda name: config if name == "Glyph-32" else None)
    return "Glyph-32"


def test_a_weights_file_is_known_by_its_bytes_and_its_architecture(
    clip: Path, architecture: str, tmp_path: Path
) -> None:
    file = clip / "open_clip_model.safetensors"
    ref = resolve(f"{architecture}:{file}", "clip")
    assert load_clip(ref).resolution == 32
    file.rename(tmp_path / "moved.safetensors")
    moved = resolve(f"{architecture}:{tmp_path}/moved.safetensors", "clip")
    assert moved.identity == ref.identity
    (tmp_path / "link.safetensors").symlink_to("moved.safetensors")
    assert resolve(f"{architecture}:{tmp_path}/link.safetensors", "clip").identity == ref.identity
    assert digests.digest(f"Other-32:{tmp_path}/moved.safetensors") != ref.digest
    changed(tmp_path / "moved.safetensors")
    assert resolve(f"{architecture}:{tmp_path}/moved.safetensors", "clip").digest != ref.digest
    with pytest.raises(UserError, match="the model changed"):
        load_clip(moved)


@pytest.mark.parametrize(
    ("part", "location", "said"),
    [
        ("clip", "{}/w.safetensors", "use NAME:FILE"),
        ("clip", "{}/w.pt", "only safetensors are read"),
        ("diffusion", "{}/w.safetensors", "this is a single-file checkpoint; a folder is needed"),
        ("diffusion", "{}/w.pt", "this is a pickled single-file checkpoint"),
        ("clip", "ViT-B-16:{}/none.safetensors", "no such weights file"),
        ("clip", "ViT-B-16:{}/w.pt", "only safetensors are read"),
        ("clip", "ViT-B16:{}/w.safetensors", "did you mean 'ViT-B-16'"),
        ("clip", "ViT-B-16:opena", "open_clip has no weights 'opena' for ViT-B-16: it has openai,"),
        ("clip", "ViT-B-16", "nor a CLIP name"),
        ("diffusion", "a b", "nor a Stable Diffusion name"),
        ("diffusion", "org/name@../x", "nor a Stable Diffusion name"),
        ("diffusion", "{}/nothing", "no such model folder"),
    ],
)  # fmt: skip
def test_what_can_be_no_model_is_said_at_the_door(part: Any, location: str, said: str, tmp_path: Path) -> None:
    for name in ("w.safetensors", "w.pt"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match=said):
        resolve(location.format(tmp_path), part)


# The hub


class Cache:
    """A hub's cache as huggingface_hub keeps it: blobs named by their hash, snapshots of links, refs."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, repo: str, source: Path, commit: str, *branches: str) -> Path:
        folder = self.root / f"models--{repo.replace('/', '--')}"
        for path in sorted(path for path in source.rglob("*") if path.is_file()):
            data = path.read_bytes()
            small = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
            name = hashlib.sha256(data).hexdigest() if path.suffix == ".safetensors" else small
            blob = folder / "blobs" / name
            link = folder / "snapshots" / commit / path.relative_to(source)
            for place in (blob, link):
                place.parent.mkdir(parents=True, exist_ok=True)
            blob.write_bytes(data)
            link.symlink_to(os.path.relpath(blob, link.parent))
        for branch in branches:
            self.point(repo, branch, commit)
        return folder / "snapshots" / commit

    def point(self, repo: str, branch: str, commit: str) -> None:
        path = self.root / f"models--{repo.replace('/', '--')}" / "refs" / branch
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(commit)


ONE, TWO = "1" * 40, "2" * 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """An empty cache, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return Cache(tmp_path / "hub")


def settled(**models: str) -> Backbone:
    return requests.check(Request(("name-only",), source="digits", **models)).backbone


def test_a_branch_is_resolved_to_a_commit_when_it_is_asked_for(cache: Cache, sd: Path) -> None:
    cache.put("me/mini", sd, ONE, "main", "refs/pr/7")
    changed(sd / "unet" / WEIGHTS)
    cache.put("me/mini", sd, TWO, "v2")
    one = settled(diffusion="me/mini").diffusion
    assert one == ModelRef(location="me/mini", revision=ONE)
    assert settled(diffusion="me/mini@v2").diffusion.revision == TWO
    assert settled(diffusion="me/mini@refs/pr/7").diffusion.revision == ONE
    assert settled(diffusion=f"me/mini@{TWO}").diffusion.revision == TWO
    assert settled(diffusion=f"me/mini@{TWO[:8]}").diffusion.revision == TWO
    cache.point("me/mini", "main", TWO)
    two = settled(diffusion="me/mini").diffusion
    assert two.revision == TWO
    assert one.identity != two.identity
    loaded = [load_diffusion(ref).unet.state_dict() for ref in (one, two)]
    assert any(not torch.equal(loaded[0][name], loaded[1][name]) for name in loaded[0])


def test_what_was_asked_of_the_hub_by_the_first_version_keeps_its_identity(cache: Cache, sd: Path) -> None:
    """It had no revision, and is read at whatever its branch is by now, not at what it was."""
    cache.put("me/mini", sd, ONE, "main")
    ref = ModelRef(location="me/mini")
    assert ref.identity == {"model": "me/mini", "revision": None}
    first = load_diffusion(ref)
    assert load_diffusion(ref) is first
    changed(sd / "unet" / WEIGHTS)
    cache.put("me/mini", sd, TWO, "main")
    assert load_diffusion(ref) is not first


def test_a_cached_file_that_is_not_what_the_hub_gave_is_refused(cache: Cache, sd: Path) -> None:
    snapshot = cache.put("me/mini", sd, ONE, "main")
    ref = settled(diffusion="me/mini").diffusion
    assert checked(ref)
    for name in ("unet/config.json", f"vae/{WEIGHTS}"):
        blob = (snapshot / name).resolve()
        whole = blob.read_bytes()
        changed(blob)
        with pytest.raises(UserError, match="does not match the hub's hash"):
            load_diffusion(ref)
        blob.write_bytes(whole)
    load_diffusion(ref)


def test_a_clip_of_the_hub_is_read_at_its_commit(cache: Cache, clip: Path, mini: Backbone) -> None:
    cache.put("me/glyphs", clip, ONE, "main")
    ref = settled(clip="hf-hub:me/glyphs").clip
    assert ref == ModelRef(location="hf-hub:me/glyphs", revision=ONE)
    assert settled(clip="me/glyphs@main").clip == ref
    changed(clip / "open_clip_model.safetensors")
    cache.put("me/glyphs", clip, TWO, "main")
    ours, theirs = load_clip(mini.clip).model.state_dict(), load_clip(ref).model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    moved = load_clip(settled(clip="hf-hub:me/glyphs").clip).model.state_dict()
    assert any(not torch.equal(ours[name], moved[name]) for name in ours)


def test_a_pair_of_open_clip_is_read_at_its_repositorys_commit(
    cache: Cache, clip: Path, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"hf_hub": "me/weights/", "mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 1.0)}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, architecture, {"own": entry})
    monkeypatch.setattr(
        zoo, "repository", lambda name, tag: "me/weights" if (name, tag) == (architecture, "own") else None
    )
    cache.put("me/weights", clip, ONE, "main")
    backbone, said = pinned(load_backbone("mini", clip=f"{architecture}:own"), ["clip"])
    assert (backbone.clip.revision, said) == (ONE, [])
    changed(clip / "open_clip_model.safetensors")
    cache.put("me/weights", clip, TWO, "main")
    found = load_clip(backbone.clip)
    assert found.mean == (0.1, 0.2, 0.3)
    assert "file" not in entry
    assert load_clip(pinned(load_backbone("mini", clip=f"{architecture}:own"), ["clip"])[0].clip) is not found


def test_open_clips_own_pairs_have_a_repository_and_a_configuration() -> None:
    import subprocess
    import sys

    assert zoo.repository("ViT-B-16-quickgelu", "openai") == "timm/vit_base_patch16_clip_224.openai"
    assert zoo.config("ViT-B-16-quickgelu")["embed_dim"] == 512
    code = (
        "import sys\nfrom datadream.models import zoo\n"
        "assert zoo.repository('ViT-B-16', 'openai') and 'openai' in zoo.tags('ViT-B-16')\n"
        "assert not {'torch', 'open_clip'} & set(sys.modules), 'heavy'\nimport safetensors.torch\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "models", [{"diffusion": "nobody/nothing"}, {"clip": "hf-hub:nobody/nothing"}, {"backbone": "sd2.1-base"}]
)
def test_a_commit_that_can_not_be_learned_is_one_sentence(models: dict[str, str], cache: Cache) -> None:
    request = Request(("name-only",), source="digits", **models)
    with pytest.raises(UserError, match=r"hub model .* is not cached, .*@COMMIT") as caught:
        requests.check(request)
    assert "\n" not in str(caught.value)
    assert requests.check(request, dry=True).notes[0].startswith("can't run this: hub model ")


def test_only_the_models_that_are_used_are_looked_up(cache: Cache) -> None:
    methods = requests.check(Request(("zero-shot", "real-only"), source="digits", diffusion="nobody/nothing"))
    assert methods.backbone.diffusion.revision is None
    assert methods.notes == ("--diffusion is unused: none of these methods generates images",)


def test_the_hub_says_what_a_branch_is_and_the_cache_where_it_does_not_answer(
    cache: Cache, sd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import errors

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    answers: dict[str, Any] = {"main": TWO, "": ONE}

    def asked(repo: str, revision: str, moment: int) -> str:
        if isinstance(answer := answers[revision], Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr(hub, "_asked", asked)
    wanted = hub.HubId("me/mini", "")
    assert hub.commit_of(wanted, "--diffusion ") == (ONE, "")
    assert hub.commit_of(hub.HubId("me/mini", "main"), "") == (TWO, "")
    answers[""] = ConnectionError("no network, and a secret in https://me:password@hub")
    with pytest.raises(UserError, match="the hub does not answer") as caught:
        hub.commit_of(wanted, "--diffusion ")
    assert "password" not in str(caught.value)
    assert "--diffusion me/mini@COMMIT" in str(caught.value)
    cache.put("me/mini", sd, TWO, "main")
    commit, said = hub.commit_of(wanted, "")
    assert commit == TWO
    assert said == "the hub does not answer: using me/mini at the cached commit 222222222222"
    for kind, words in (
        (errors.RevisionNotFoundError, "has no branch, tag or commit 'v9'"),
        (errors.RepositoryNotFoundError, "no hub model me/mini"),
        (errors.GatedRepoError, "is gated"),
    ):
        answers["v9"] = kind.__new__(kind)
        with pytest.raises(UserError, match=words):
            hub.commit_of(hub.HubId("me/mini", "v9"), "")
