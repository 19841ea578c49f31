"""What a class is called, and the sentence C(y) that both the generator and CLIP read."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, field_validator


class ClassInfo(BaseModel):
    """One class of a source: `folder` identifies it, `name` is what people and prompts call it.

    `name` has single spaces; `prefix` is empty or ends in exactly one space. `synset` (WordNet) and
    `definition` are notes for methods that describe classes in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    folder: str
    name: str
    prefix: str = ""
    synset: str | None = None
    definition: str | None = None

    @field_validator("folder")
    @classmethod
    def _one_folder(cls, folder: str) -> str:
        if folder in ("", ".", "..") or "/" in folder or "\0" in folder:
            raise ValueError(f"{folder!r} is not a folder name")
        return folder

    @field_validator("name")
    @classmethod
    def _single_spaces(cls, name: str) -> str:
        collapsed = " ".join(name.split())
        if not collapsed:
            raise ValueError("a class needs a name")
        return collapsed

    @field_validator("prefix")
    @classmethod
    def _one_trailing_space(cls, prefix: str) -> str:
        words = prefix.split()
        return " ".join(words) + " " if words else ""


def prompt(class_: ClassInfo) -> str:
    """C(y): `a {prefix}photo of a {name}`, as in `a satellite photo of a Forest`."""
    return f"a {class_.prefix}photo of a {class_.name}"


def class_name(folder: str) -> str:
    """The default name of a class folder: underscores become spaces, and CamelCase becomes words.

    `apple_pie` is `apple pie`, `AnnualCrop` is `Annual Crop`, `HTMLPage` is `HTML Page`. A folder that has
    spaces, underscores or hyphens already is not read as CamelCase, so `McDonnell Douglas` and `F-16A` stay.
    """
    words = folder.replace("_", " ").split()
    if len(words) == 1 and "_" not in folder and "-" not in folder:
        words = _camel_words(folder.strip())
    return " ".join(words) or folder


def _camel_words(text: str) -> list[str]:
    starts = [0]
    for i in range(1, len(text)):
        after_word = text[i - 1].islower() and text[i].isupper()
        # two small letters, or the plural of an acronym would be cut: UFOs
        after_acronym = text[i - 1].isupper() and text[i].isupper() and _is_small(text[i + 1 : i + 3])
        if after_word or after_acronym:
            starts.append(i)
    return [text[start:stop] for start, stop in zip(starts, [*starts[1:], len(text)], strict=True)]


def _is_small(pair: str) -> bool:
    return len(pair) == 2 and all(letter.islower() for letter in pair)
