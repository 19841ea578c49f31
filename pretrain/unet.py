"""The generator: a latent UNet under v-prediction, trained together with CLIP's text tower."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch.nn import functional as F
from transformers import CLIPTextModel, CLIPTokenizer

from pretrain.clip import tokens
from pretrain.corpus import Corpus, batch
from pretrain.training import cosine, load_checkpoint, save_checkpoint

STEPS, BATCH, RATE, TEXT_RATE = 2700, 64, 1.2e-3, 3e-4
EMA = 0.998
EMPTY_PROMPTS = 0.1
CHECKPOINT_EVERY = 300
CAPTIONS = 3  # captions drawn for each image of the pool


def make_unet() -> UNet2DConditionModel:
    """The shape; weights from the current torch seed."""
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(64, 96),
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        layers_per_block=1,
        cross_attention_dim=64,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def make_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule, v-prediction."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
    )


def encode_pool(vae: AutoencoderKL, corpus: Corpus, tokenizer: CLIPTokenizer, seed: int) -> dict[str, torch.Tensor]:
    """Latent mean and std of every training drawing, painted once, with token ids of CAPTIONS captions each."""
    rng = np.random.default_rng([seed, 5])
    train, _ = corpus.split()
    means, stds, ids = [], [], []
    with torch.no_grad():
        for start in range(0, len(train), 256):
            images, labels, first = batch(corpus, train[start : start + 256], rng, colour=0.85)
            moments = vae.encode(images).latent_dist
            means.append(moments.mean)
            stds.append(moments.std)
            from pretrain.corpus import plain_caption

            texts = [first, *([plain_caption(int(label), rng) for label in labels] for _ in range(CAPTIONS - 2)), first]
            ids.append(torch.stack([tokens(tokenizer, column) for column in texts], dim=1))
    return {"mean": torch.cat(means), "std": torch.cat(stds), "ids": torch.cat(ids)}


def train_unet(
    vae: AutoencoderKL,
    text: CLIPTextModel,
    corpus: Corpus,
    tokenizer: CLIPTokenizer,
    seed: int,
    work: Path,
    log: list[dict[str, float]],
) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """Joint training of UNet and text encoder; returns their moving averages. Resumes from `work`."""
    torch.manual_seed(seed)
    pool = encode_pool(vae, corpus, tokenizer, seed)
    empty = tokens(tokenizer, [""])
    unet = make_unet()
    scheduler = make_scheduler()
    average, average_text = copy.deepcopy(unet), copy.deepcopy(text)
    groups = [{"params": list(unet.parameters()), "lr": RATE}, {"params": list(text.parameters()), "lr": TEXT_RATE}]
    optimizer = torch.optim.AdamW(groups, weight_decay=1e-3)
    schedule = cosine(optimizer, STEPS)
    parts = {"unet": unet, "text": text, "average": average, "average_text": average_text}
    parts |= {"optimizer": optimizer, "schedule": schedule}
    start = 0
    if held := load_checkpoint(work / "unet.pt"):
        for name, part in parts.items():
            part.load_state_dict(held[name])
        start = int(held["step"])
    losses: list[float] = []
    for step in range(start, STEPS):
        draw = torch.Generator().manual_seed(seed * 1_000_003 + step)
        index = torch.randint(len(pool["mean"]), (BATCH,), generator=draw)
        noise = torch.randn(2, BATCH, *pool["mean"].shape[1:], generator=draw)
        latents = (pool["mean"][index] + pool["std"][index] * noise[0]) * vae.config.scaling_factor
        middle = torch.rand(BATCH, generator=draw) < 0.6
        everywhere = torch.randint(0, 1000, (BATCH,), generator=draw)
        t = torch.where(middle, torch.randint(250, 900, (BATCH,), generator=draw), everywhere)
        ids = pool["ids"][index, torch.randint(CAPTIONS, (BATCH,), generator=draw)]
        ids = torch.where((torch.rand(BATCH, 1, generator=draw) < EMPTY_PROMPTS), empty, ids)
        noisy = scheduler.add_noise(latents, noise[1], t)
        target = scheduler.get_velocity(latents, noise[1], t)
        loss = F.mse_loss(unet(noisy, t, text(ids).last_hidden_state).sample, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], 1.0)
        optimizer.step()
        schedule.step()
        decay = min(EMA, (step + 1) / (step + 10))
        for mean, now in ((average, unet), (average_text, text)):
            for kept, new in zip(mean.parameters(), now.parameters(), strict=True):
                kept.data.lerp_(new.data, 1 - decay)
        losses.append(loss.item())
        if step % 50 == 0 or step == STEPS - 1:
            print(f"unet {step} loss {sum(losses[-50:]) / len(losses[-50:]):.4f}", flush=True)
        if (step + 1) % CHECKPOINT_EVERY == 0:
            state = {name: part.state_dict() for name, part in parts.items()}
            save_checkpoint(work / "unet.pt", state | {"step": step + 1})
    log.append({"unet_last_200_loss": sum(losses[-200:]) / max(1, len(losses[-200:]))})
    return average.eval(), average_text.eval()


def save_pipeline(
    unet: UNet2DConditionModel, text: CLIPTextModel, vae: AutoencoderKL, tokenizer: CLIPTokenizer, out: Path
) -> None:
    """diffusers' own folder layout. The UNet is stored in half precision, the small parts in single."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=copy.deepcopy(unet).half(),
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(out)
