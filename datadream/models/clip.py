"""CLIP through open_clip: a zoo name, a hub id or a folder, with attention split so that q, k, v can be adapted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import open_clip
import torch
from open_clip.transformer import text_global_pool
from torch import Tensor, nn
from torch.nn import functional as F

from datadream.errors import UserError
from datadream.models import headers, runtime
from datadream.models.digests import FOLDER
from datadream.models.fetch import clip_folder, clip_pair
from datadream.models.presets import ModelRef
from datadream.models.verify import LoadedOnce

PROJECTIONS = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "out": "out_proj"}


class SplitAttention(nn.Module):
    """`nn.MultiheadAttention` (batch first, self-attention) with separate projections: equal outputs."""

    q_proj: nn.Linear
    k_proj: nn.Linear
    v_proj: nn.Linear

    def __init__(self, fused: nn.MultiheadAttention) -> None:
        super().__init__()
        width, self.heads = fused.embed_dim, fused.num_heads
        for part, name in enumerate(("q_proj", "k_proj", "v_proj")):
            linear = nn.Linear(width, width)
            linear.weight.data.copy_(fused.in_proj_weight[part * width : (part + 1) * width])
            linear.bias.data.copy_(fused.in_proj_bias[part * width : (part + 1) * width])
            setattr(self, name, linear)
        self.out_proj = nn.Linear(width, width)
        self.out_proj.load_state_dict(fused.out_proj.state_dict())

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = False, attn_mask: Tensor | None = None
    ) -> tuple[Tensor, None]:
        """(B, L, width) to (B, L, width); the second item is there because MultiheadAttention has one."""

        def heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        q, k, v = heads(self.q_proj(query)), heads(self.k_proj(key)), heads(self.v_proj(value))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), None


@dataclass(frozen=True)
class Clip:
    """A frozen CLIP in float32 and how it wants its images."""

    model: Any
    tokenizer: Any
    resolution: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        """Ids (n, longest): columns past every end-of-text token are cut; under a causal mask they change nothing."""
        ids = self.tokenizer(list(prompts))
        if isinstance(self.model, open_clip.CLIP) and self.model.text_pool_type == "argmax":
            ids = ids[:, : int(ids.argmax(dim=-1).max()) + 1]
        return ids.to(runtime.device())

    def encode_text(self, ids: Tensor) -> Tensor:
        """Unit text features (n, embed)."""
        model = self.model
        if not isinstance(model, open_clip.CLIP):
            return model.encode_text(ids, normalize=True)
        length = ids.shape[1]
        x = model.token_embedding(ids) + model.positional_embedding[:length]
        mask = None if model.attn_mask is None else model.attn_mask[:length, :length]
        x = model.ln_final(model.transformer(x, attn_mask=mask))
        x = text_global_pool(x, ids, model.text_pool_type, eos_token_id=getattr(model, "text_eos_id", None))
        projection = model.text_projection
        if projection is not None:
            x = projection(x) if isinstance(projection, nn.Linear) else x @ projection
        return F.normalize(x, dim=-1)

    def logits(self, images: Tensor, text: Tensor) -> Tensor:
        """f(x): (B, N) from normalised images (B, 3, H, W) and unit text features (N, embed)."""
        features = self.model.encode_image(images, normalize=True)
        return self.model.logit_scale.exp() * features @ text.T

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) to the model's input range, on the runtime's device."""
        images = images.to(runtime.device(), torch.float32) / 255
        mean = torch.tensor(self.mean, device=images.device)[:, None, None]
        std = torch.tensor(self.std, device=images.device)[:, None, None]
        return (images - mean) / std


@LoadedOnce
def load_clip(ref: ModelRef) -> Clip:
    """The model `ref` names: a folder, `hf-hub:ORG/NAME`, or an open_clip `NAME:WEIGHTS` pair."""
    logging.getLogger().setLevel(logging.WARNING)
    try:
        with runtime.only_data():
            model, tokenizer = _read(ref)
    except UserError:
        raise
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a damaged or hostile folder may make a loader raise anything
        raise UserError(
            f"can't load the CLIP model: {runtime.first_line(error)}",
            at=ref.location,
            hint="give an open_clip folder, hf-hub:ORG/NAME, or NAME:WEIGHTS such as ViT-B-16-quickgelu:openai",
        ) from error
    split_attention(model)
    model.requires_grad_(False)
    model.to(runtime.device(), torch.float32)
    model.eval()
    size = model.visual.image_size
    return Clip(
        model,
        tokenizer,
        int(size[0] if isinstance(size, tuple | list) else size),
        tuple(model.visual.preprocess_cfg["mean"]),
        tuple(model.visual.preprocess_cfg["std"]),
    )


def _read(ref: ModelRef) -> tuple[Any, Any]:
    """open_clip's model and tokenizer."""
    folder = clip_folder(ref)
    if folder is not None:
        headers.check_folder(folder)
        name = f"{FOLDER}{folder}"
        return open_clip.create_model(name, require_pretrained=True), open_clip.get_tokenizer(name)
    with clip_pair(ref) as (name, weights, file, told):
        if file is not None:
            headers.check_file(file)
        model = open_clip.create_model(name, pretrained=weights, require_pretrained=True)
        return model, open_clip.get_tokenizer(name, **told)


def split_attention(model: nn.Module) -> None:
    """Replace every `nn.MultiheadAttention` of self-attention blocks below `model` by SplitAttention."""
    for module in list(model.modules()):
        attention = getattr(module, "attn", None)
        if isinstance(attention, nn.MultiheadAttention) and attention._qkv_same_embed_dim:
            module.attn = SplitAttention(attention)
