"""The autoencoder: 32x32 RGB to 8x8x4 latents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch.nn import functional as F

from pretrain.corpus import SIZE, Corpus, batch
from pretrain.training import cosine

STEPS, BATCH, RATE = 1200, 64, 2e-3


def make_vae() -> AutoencoderKL:
    """The shape; weights from the current torch seed."""
    return AutoencoderKL(
        block_out_channels=(16, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=SIZE,
    )


def train_vae(corpus: Corpus, seed: int, out: Path, log: list[dict[str, float]]) -> AutoencoderKL:
    """MSE + 0.3 L1 + 1e-3 KL; `scaling_factor` set so that latents have unit variance. Reuses `out` when there."""
    if (out / "config.json").exists():
        return AutoencoderKL.from_pretrained(out)
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 3])
    train, held = corpus.split()
    vae = make_vae()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=RATE, weight_decay=1e-4)
    schedule = cosine(optimizer, STEPS)
    for step in range(STEPS):
        images, _, _ = batch(corpus, rng.choice(train, BATCH), rng)
        posterior = vae.encode(images).latent_dist
        restored = vae.decode(posterior.sample()).sample
        loss = F.mse_loss(restored, images) + 0.3 * F.l1_loss(restored, images) + 1e-3 * posterior.kl().mean() / 64
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == STEPS - 1:
            print(f"vae {step} loss {loss.item():.4f} mse {F.mse_loss(restored, images).item():.4f}", flush=True)
    vae.eval()
    with torch.no_grad():
        images, _, _ = batch(corpus, rng.choice(held, 512), rng)
        latents = vae.encode(images).latent_dist.sample()
        mse = F.mse_loss(vae.decode(latents).sample, images).item()
        vae.register_to_config(scaling_factor=round(1 / latents.std().item(), 4))
    log.append({"vae_held_out_mse": mse, "vae_scaling_factor": vae.config.scaling_factor})
    print(log[-1], flush=True)
    vae.save_pretrained(out)
    return vae
