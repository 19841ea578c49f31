"""A small real CLIP tokenizer: byte alphabet with and without `</w>`, merges from our captions, specials last."""

from __future__ import annotations

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from pretrain.corpus import NAMES, NUM_CLASSES, caption

CONTEXT_LENGTH = 16
MERGES = 240
WORD = r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""


def make_tokenizer(seed: int) -> CLIPTokenizer:
    """Byte-pair tokenizer trained on 20,000 of our captions; any UTF-8 text encodes without unknowns."""
    rng = np.random.default_rng([seed, 2])
    colours = [(a, b, adjective) for a in NAMES for b in NAMES for adjective in ("", "bold", "thin", "blurred")]
    texts = [caption(int(rng.integers(NUM_CLASSES)), colours[rng.integers(len(colours))], rng) for _ in range(20_000)]
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Lowercase()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(WORD), behavior="removed", invert=True), pre_tokenizers.ByteLevel(False)]
    )
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=2 * len(letters) + MERGES,
        initial_alphabet=letters,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    import json

    merges = [tuple(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]]
    tokens = [*letters, *(letter + "</w>" for letter in letters)]
    tokens += [token for token in dict.fromkeys(a + b for a, b in merges) if token not in set(tokens)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    # "!" pads, as in Stable Diffusion 2's tokenizer: id 0 keeps end-of-text the first highest id.
    return CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token="!", model_max_length=CONTEXT_LENGTH)
