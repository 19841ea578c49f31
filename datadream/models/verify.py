"""Are the bytes that are read the ones that were asked for? Looked at when a model is loaded and after it was used."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, update_wrapper
from typing import Generic, TypeVar

from datadream.canonical import stamp
from datadream.errors import UserError
from datadream.models import digests, hub
from datadream.models.digests import Stamps
from datadream.models.presets import ModelRef, hub_id

T = TypeVar("T")
CHANGED = "restore the files, or run the same command again to use the model as it is now"
GONE = "put it back, or run the same command again with its new path"


_read: dict[ModelRef, Stamps] = {}


class LoadedOnce(Generic[T]):
    """A loader whose last model serves again while its files are the very same, and are what was asked for."""

    def __init__(self, load: Callable[[ModelRef], T]) -> None:
        self._kept = lru_cache(maxsize=1)(lambda ref, stamps: load(ref))
        update_wrapper(self, load)

    def __call__(self, ref: ModelRef) -> T:
        """The model. Raises UserError when its files hold another, or are gone."""
        found: T = self._kept(ref, checked(ref))
        try:
            _read[ref] = checked(ref)  # nor may it have become another while it was read
        except UserError:
            self.cache_clear()
            raise
        return found

    def cache_clear(self) -> None:
        """Forget the model."""
        self._kept.cache_clear()


def checked(ref: ModelRef) -> Stamps:
    """The stamps of the files `ref` is read from, after a look that they hold what was asked for.

    A file is read again only when its stamp has changed. Raises UserError when the model isn't there, or is another.
    """
    if ref.digest is None:
        repo = hub_id(ref).repo
        return hub.check_cached(repo, ref.revision if hub.is_commit(ref.revision) else hub.head(repo))
    try:
        stamps = digests.stamps(ref.location)
    except OSError as error:
        raise UserError(
            "the model was moved or removed after the run was submitted", at=ref.location, hint=GONE
        ) from error
    if digests.digest(ref.location) != ref.digest:
        raise UserError("the model changed after the run was submitted", at=ref.location, hint=CHANGED)
    return stamps


def check_unchanged(ref: ModelRef) -> None:
    """Raise UserError when a file that `ref` was loaded from was written to since, and the model is another now.

    What was loaded may still lie in those files. One that another file took the place of is not meant: it is read on.
    """
    for path, before in _read.get(ref, ()):
        try:
            now = stamp(path)
        except OSError:
            continue
        if now != before and now[:2] == before[:2]:
            checked(ref)
            return
