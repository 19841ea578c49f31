"""Models on the Hugging Face hub: a branch or tag becomes a commit once, and from then on that commit is what is read.

No torch here; the hub's library is imported only where a hub id is given.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from datadream.canonical import sha256_known, stamp
from datadream.errors import UserError
from datadream.models.configs import read_config
from datadream.models.digests import HUB, Stamps

ID = re.compile(r"[\w.-]+(?:/[\w.-]+)?", re.ASCII)
REVISION = re.compile(r"[\w.-]+(?:/[\w.-]+)*", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
MAIN = "main"
SECONDS = 10.0  # to wait for the hub's word
REMEMBERED_SECONDS = 30  # a preview asks the hub again after this
REGULAR, LARGE = 40, 64  # hex digits of a cached file's name: git's sha1 of a small file, sha256 of a large one


class HubId(NamedTuple):
    """A repository of the hub, and the branch, tag or commit that was asked for ("" for its default branch)."""

    repo: str
    revision: str


def parse(location: str) -> HubId | None:
    """What `ORG/NAME`, `ORG/NAME@REV` or `hf-hub:ORG/NAME@REV` names; None where it can't be a hub id."""
    repo, at, revision = location.removeprefix(HUB).partition("@")
    valid = ID.fullmatch(repo) and (REVISION.fullmatch(revision) if at else True) and ".." not in location
    return HubId(repo, revision) if valid else None


def is_commit(revision: str | None) -> bool:
    """Whether it names one commit for good."""
    return bool(revision and COMMIT.fullmatch(revision))


def commit_of(wanted: HubId, option: str) -> tuple[str, str]:
    """The commit that `wanted` names now, and a sentence where only the cache could be asked ("" otherwise).

    Asks the hub, unless HF_HUB_OFFLINE forbids it; where it doesn't answer, what the cache holds for that branch or
    tag counts. Raises UserError when neither knows; `option` is how a commit is named on the command line.
    """
    repo, revision = wanted
    if is_commit(revision):
        return revision, ""
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    called = f"{repo}@{revision}" if revision else repo
    cached = _cached_commit(wanted)
    if constants.HF_HUB_OFFLINE:
        if cached:
            return cached, ""
        hint = f"download it with a network, or name a cached commit with {option}{repo}@COMMIT"
        raise UserError(f"hub model {called} is not cached, and HF_HUB_OFFLINE is set", hint=hint)
    try:
        found = _asked(repo, revision, int(time.monotonic() / REMEMBERED_SECONDS))
    except GatedRepoError as error:
        raise UserError(f"hub model {called} is gated", hint="accept its terms there, and set HF_TOKEN") from error
    except RevisionNotFoundError as error:
        hint = "see its branches, tags and commits on the hub"
        raise UserError(f"hub model {repo} has no branch, tag or commit {revision!r}", hint=hint) from error
    except RepositoryNotFoundError as error:
        hint = "check the name; a private one needs HF_TOKEN"
        raise UserError(f"no hub model {repo}, and no such folder", hint=hint) from error
    except Exception as error:  # which errors an HTTP library raises is its own affair
        if cached:
            return cached, f"the hub does not answer: using {called} at the cached commit {cached[:12]}"
        hint = f"check the network, or name a commit with {option}{repo}@COMMIT"
        raise UserError(
            f"can't resolve the commit of hub model {called}: the hub does not answer", hint=hint
        ) from error
    if not found or not is_commit(found):
        raise UserError(f"the hub gives no commit for {called}", hint=f"name one with {option}{repo}@COMMIT")
    return found, ""


def snapshot(repo: str, commit: str) -> Path | None:
    """The cached files of a commit, None when there are none."""
    folder = _cache(repo) / "snapshots" / commit
    return folder if folder.is_dir() else None


def read_json(repo: str, commit: str, name: str) -> dict[str, Any]:
    """A small JSON file of a commit, from the cache or else the hub; empty when it can't be had or read."""
    from huggingface_hub import constants, hf_hub_download

    path = _cache(repo) / "snapshots" / commit / name
    try:
        if not path.is_file():
            if constants.HF_HUB_OFFLINE:
                return {}
            path = Path(hf_hub_download(repo, name, revision=commit, etag_timeout=SECONDS))
        return read_config(path)
    except Exception:  # noqa: BLE001 - no network, no such file, no JSON: whoever asks says what that means
        return {}


def check_cached(repo: str, commit: str | None) -> Stamps:
    """The cached files of a commit with their stamps. Raises UserError when one isn't what the hub gave.

    A cached file is a link to one that is named by its content's hash, where the file system has links.
    """
    folder = snapshot(repo, commit) if commit else None
    found = []
    for path in sorted(folder.rglob("*")) if folder else []:
        if not path.is_file():
            continue
        name = path.resolve().name if path.is_symlink() else ""
        if name and not _is_content(path, name):
            hint = "remove it from the cache and download it again"
            raise UserError(f"the cached {path.name} of {repo} does not match the hub's hash", at=path, hint=hint)
        found.append((path, stamp(path)))
    return tuple(found)


def head(repo: str) -> str:
    """What the cache holds for the default branch, "" for nothing."""
    return _cached_commit(HubId(repo, ""))


def _is_content(path: Path, name: str) -> bool:
    """Whether a cached file has the hash that its name is; true of names that are none."""
    if re.fullmatch(f"[0-9a-f]{{{LARGE}}}", name):
        return sha256_known(path) == name
    if re.fullmatch(f"[0-9a-f]{{{REGULAR}}}", name):
        data = path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == name
    return True


@lru_cache(maxsize=32)
def _asked(repo: str, revision: str, moment: int) -> str | None:
    """What the hub says at that moment."""
    del moment
    from huggingface_hub import HfApi

    return HfApi().model_info(repo, revision=revision or None, timeout=SECONDS).sha


def _cached_commit(wanted: HubId) -> str:
    """The commit the cache holds for a branch, a tag, or the start of a commit; "" for none."""
    folder = _cache(wanted.repo)
    try:
        found = (folder / "refs" / (wanted.revision or MAIN)).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        found = ""
    if is_commit(found):
        return found
    starts = [name for name in _snapshots(folder) if len(wanted.revision) >= 7 and name.startswith(wanted.revision)]
    return starts[0] if len(starts) == 1 else ""


def _snapshots(folder: Path) -> Iterator[str]:
    try:
        yield from (path.name for path in (folder / "snapshots").iterdir() if is_commit(path.name))
    except OSError:
        return


def _cache(repo: str) -> Path:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE).expanduser() / repo_folder_name(repo_id=repo, repo_type="model")
