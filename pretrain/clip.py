"""The classifier: an open_clip CLIP trained by contrast between printed glyphs and their captions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import open_clip
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from pretrain.corpus import NUM_CLASSES, SIZE, Corpus, batch, plain_caption
from pretrain.tokenizer import CONTEXT_LENGTH
from pretrain.training import cosine

STEPS, BATCH, RATE = 1400, 128, 1.5e-3
WIDTH, LAYERS, HEADS = 64, 2, 2


def config(vocabulary: int) -> dict[str, object]:
    """open_clip's model_cfg."""
    return {
        "embed_dim": 64,
        "vision_cfg": {"image_size": SIZE, "layers": 4, "width": 96, "head_width": 32, "patch_size": 4},
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": vocabulary,
            "width": WIDTH,
            "heads": HEADS,
            "layers": LAYERS,
            "hf_tokenizer_name": "in this folder",
        },
    }


def tokens(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """Token ids (n, 16)."""
    return tokenizer(
        texts, padding="max_length", truncation=True, max_length=CONTEXT_LENGTH, return_tensors="pt"
    ).input_ids


def train_clip(
    corpus: Corpus, tokenizer: CLIPTokenizer, seed: int, out: Path, log: list[dict[str, float]]
) -> open_clip.CLIP:
    """Contrastive training with a curriculum from black and white to colour. Reuses `out` when there.

    Three losses: every image against one prompt of each of the 36 classes; a quarter of the images against their
    captions, both ways; and a linear class head, dropped afterwards, that breaks the early plateau.
    """
    model_cfg = config(len(tokenizer))
    model = open_clip.CLIP(**model_cfg)
    if (out / "open_clip_model.safetensors").exists():
        model.load_state_dict(load_file(out / "open_clip_model.safetensors"))
        return model
    torch.manual_seed(seed)
    model = open_clip.CLIP(**model_cfg)
    rng = np.random.default_rng([seed, 4])
    train, held = corpus.split()
    head = nn.Linear(64, NUM_CLASSES)
    parameters = [*model.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.05)
    schedule = cosine(optimizer, STEPS, warmup=50)
    for step in range(STEPS):
        colour = 0.0 if step < 0.28 * STEPS else 0.4
        images, labels, captions = batch(corpus, rng.choice(train, BATCH), rng, colour)
        target = torch.from_numpy(labels)
        quarter = BATCH // 4
        prompts = [plain_caption(label, rng) for label in range(NUM_CLASSES)]
        text = F.normalize(model.encode_text(tokens(tokenizer, prompts + captions[:quarter])), dim=-1)
        raw = model.encode_image(images)
        image = F.normalize(raw, dim=-1)
        scale = model.logit_scale.exp()
        by_class = F.cross_entropy(scale * image @ text[:NUM_CLASSES].T, target)
        pairs = scale * image[:quarter] @ text[NUM_CLASSES:].T
        diagonal = torch.arange(quarter)
        by_caption = (F.cross_entropy(pairs, diagonal) + F.cross_entropy(pairs.T, diagonal)) / 2
        loss = by_class + 0.5 * by_caption + 0.5 * F.cross_entropy(head(raw), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=np.log(100))
        if step % 50 == 0 or step == STEPS - 1:
            print(f"clip {step} class {by_class.item():.3f} caption {by_caption.item():.3f}", flush=True)
    model.eval()
    with torch.no_grad():
        images, labels, _ = batch(corpus, rng.choice(held, 2000), rng, 0.4)
        prompts = [plain_caption(label, rng) for label in range(NUM_CLASSES)]
        guess = model.encode_image(images) @ F.normalize(model.encode_text(tokens(tokenizer, prompts)), dim=-1).T
        accuracy = (guess.argmax(1).numpy() == labels).mean()
    log.append({"clip_held_out_printed_top1": float(accuracy)})
    print(log[-1], flush=True)
    save_clip(model, model_cfg, tokenizer, out)
    return model


def save_clip(model: open_clip.CLIP, model_cfg: dict[str, object], tokenizer: CLIPTokenizer, out: Path) -> None:
    """A folder that `open_clip.create_model("local-dir:...")` loads."""
    out.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()}, out / "open_clip_model.safetensors"
    )
    half = [0.5, 0.5, 0.5]
    preprocess = {"mean": half, "std": half, "interpolation": "bicubic", "resize_mode": "shortest"}
    text = json.dumps({"model_cfg": model_cfg, "preprocess_cfg": preprocess}, indent=2, sort_keys=True)
    (out / "open_clip_config.json").write_text(text + "\n", encoding="utf-8")
    tokenizer.save_pretrained(out)


def text_encoder(model: open_clip.CLIP, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """CLIP's text tower as transformers' `CLIPTextModel`: same hidden states to the last bit."""
    encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            max_position_embeddings=CONTEXT_LENGTH,
            hidden_act="gelu",
            projection_dim=64,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    source = model.state_dict()
    state = {
        "embeddings.token_embedding.weight": source["token_embedding.weight"],
        "embeddings.position_embedding.weight": source["positional_embedding"],
        "final_layer_norm.weight": source["ln_final.weight"],
        "final_layer_norm.bias": source["ln_final.bias"],
    }
    for layer in range(LAYERS):
        ours, theirs = f"encoder.layers.{layer}.", f"transformer.resblocks.{layer}."
        for kind in ("weight", "bias"):
            fused = source[f"{theirs}attn.in_proj_{kind}"].chunk(3)
            for part, name in zip(fused, "qkv", strict=True):
                state[f"{ours}self_attn.{name}_proj.{kind}"] = part
            state[f"{ours}self_attn.out_proj.{kind}"] = source[f"{theirs}attn.out_proj.{kind}"]
            state[f"{ours}layer_norm1.{kind}"] = source[f"{theirs}ln_1.{kind}"]
            state[f"{ours}layer_norm2.{kind}"] = source[f"{theirs}ln_2.{kind}"]
            state[f"{ours}mlp.fc1.{kind}"] = source[f"{theirs}mlp.c_fc.{kind}"]
            state[f"{ours}mlp.fc2.{kind}"] = source[f"{theirs}mlp.c_proj.{kind}"]
    encoder.load_state_dict(state)
    return encoder
