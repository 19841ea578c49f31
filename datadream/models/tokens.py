"""Texts as token ids, for models whose tokenizer lies on this machine. No torch here: commands ask before they queue.

The worker asks the loaded model itself; both must agree, and a test sees to that.
"""

from __future__ import annotations

import functools
import gzip
import html
import importlib.util
import string
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from datadream.models import kinds
from datadream.models.configs import read_config
from datadream.models.presets import HUB, ModelRef

CLIP_TOKENS = 77  # what open_clip takes where a model doesn't say
OPENAI_WORDS = 49152 - 256 - 2  # merges of the vocabulary that OpenAI's CLIP was trained with
PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
START, END = "<|startoftext|>", "<|endoftext|>"  # as transformers writes them
OPENAI_START, OPENAI_END = "<start_of_text>", "<end_of_text>"  # as open_clip does


class Tokens(NamedTuple):
    """`ids` of a text with start and end, uncut; `limit` is how many of them the model takes."""

    ids: Callable[[str], list[int]]
    limit: int
    end: int | None  # the id at which a CLIP stops reading; None where what follows counts too

    def read(self, texts: Sequence[str]) -> list[tuple[tuple[int, ...], bool]]:
        """Of each text the ids that are taken in, its end left out, and whether others were dropped."""
        found = []
        for text in texts:
            ids = self.ids(text)
            taken = ids[: min(self.limit, len(ids)) - 1]
            if self.end is not None and self.end in taken:
                taken = taken[: taken.index(self.end)]
            found.append((tuple(taken), len(ids) > self.limit))
        return found


@functools.lru_cache(maxsize=8)
def diffusion_tokens(ref: ModelRef) -> Tokens | None:
    """The tokenizer of a diffusers folder; None when it isn't here or can't be read, which loading it will say."""
    folder = Path(ref.location) / "tokenizer"
    if not ref.digest:
        return None
    try:
        told = read_config(folder / "tokenizer_config.json").get("model_max_length")
        most = read_config(Path(ref.location) / "text_encoder" / "config.json").get("max_position_embeddings")
        limits = [value for value in (told, most) if isinstance(value, int) and 2 < value < 1 << 20]
        if (folder / "tokenizer.json").is_file():
            tokenizer = _from_file(folder / "tokenizer.json")
        else:
            tokenizer = _bpe(read_config(folder / "vocab.json"), _merges(folder / "merges.txt"), START, END)
    except Exception:  # noqa: BLE001 - the library raises plain exceptions, and a foreign file may make it raise anything
        return None
    return Tokens(lambda text: tokenizer.encode(text).ids, min(limits, default=CLIP_TOKENS), None)


@functools.lru_cache(maxsize=8)
def clip_tokens(ref: ModelRef) -> Tokens | None:
    """The tokenizer of an open_clip folder, or of one of open_clip's own names that needs no download; else None."""
    try:
        config = _text_config(ref)
        if config is None:
            return None
        limit = int(config.get("context_length", CLIP_TOKENS))
        options = config.get("tokenizer_kwargs", {})
        if config.get("hf_tokenizer_name"):
            if not ref.digest:
                return None
            tokenizer, clean = _from_file(Path(ref.location) / "tokenizer.json"), options.get("clean", "whitespace")
            end = tokenizer.token_to_id(END)
        else:
            tokenizer, clean = _openai(), options.get("clean", "lower")
            end = tokenizer.token_to_id(OPENAI_END)
    except Exception:  # noqa: BLE001 - as above
        return None
    return Tokens(lambda text: tokenizer.encode(_cleaned(text, clean)).ids, limit, end)


def _text_config(ref: ModelRef) -> dict[str, Any] | None:
    """`text_cfg` of a folder, or of a name that open_clip knows; a model of the hub isn't looked at."""
    if ref.location.startswith(HUB):
        return None
    return kinds.clip_config(ref.location, None).get("text_cfg")


def _open_clip() -> Path:
    """Where open_clip lies, without importing it: that loads torch."""
    found = importlib.util.find_spec("open_clip")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("open_clip")
    return Path(found.origin).parent


@functools.cache
def _openai() -> Any:
    """The tokenizer of OpenAI's CLIP, from the merges that open_clip brings."""
    merges = gzip.decompress((_open_clip() / "bpe_simple_vocab_16e6.txt.gz").read_bytes()).decode().split("\n")
    pairs = [(first, second) for first, second in map(str.split, merges[1 : OPENAI_WORDS + 1])]
    letters = _byte_letters()
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in pairs)]
    words += [OPENAI_START, OPENAI_END]
    return _bpe({word: number for number, word in enumerate(words)}, pairs, OPENAI_START, OPENAI_END)


def _bpe(vocab: dict[str, int], merges: Sequence[tuple[str, str]], start: str, end: str) -> Any:
    """CLIP's byte pairs: lower case, pieces of letters, single digits or signs, each ending in </w>."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    made = Tokenizer(models.BPE(vocab=vocab, merges=list(merges), end_of_word_suffix="</w>", unk_token=end))
    made.add_special_tokens([start, end])
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    made.post_processor = processors.RobertaProcessing((end, vocab[end]), (start, vocab[start]), False, False)
    return made


def _from_file(path: Path) -> Any:
    from tokenizers import Tokenizer

    found = Tokenizer.from_file(str(path))
    found.no_truncation()
    found.no_padding()
    return found


def _merges(path: Path) -> list[tuple[str, str]]:
    lines = path.read_text(encoding="utf-8").split("\n")
    pairs = (line.split() for line in lines if line.strip() and not line.startswith("#version"))
    return [(first, second) for first, second in pairs]


def _byte_letters() -> list[str]:
    """The 256 letters that stand for bytes in such vocabularies, in their order: printable bytes, then the rest."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def _cleaned(text: str, how: str) -> str:
    """As open_clip cleans texts: mended, entities resolved, single spaces; in lower case or without signs if asked."""
    import ftfy

    text = " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())
    if how == "canonicalize":
        text = text.replace("_", " ").translate(str.maketrans("", "", string.punctuation)).lower()
        return " ".join(text.split())
    return text.lower() if how == "lower" else text
