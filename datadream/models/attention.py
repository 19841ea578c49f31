"""Attention as LoRA needs it: separate projections for query, key, value and output, found in every layer.

Fused projections are cut into separate ones with equal outputs; then `reach` names the modules that a recipe's
targets mean, or says how many attentions it can't reach.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datadream.errors import UserError

TARGETS = ("q", "k", "v", "out")
# Where the four projections are, below an attention: diffusers; transformers' CLIP and M2M100, and SplitAttention;
# timm's EVA, its plain one, its pooling one; transformers' BERT family; its T5 family.
LAYOUTS = (
    ("to_q", "to_k", "to_v", "to_out.0"),
    ("q_proj", "k_proj", "v_proj", "out_proj"),
    ("q_proj", "k_proj", "v_proj", "proj"),
    ("qkv.q_proj", "qkv.k_proj", "qkv.v_proj", "proj"),
    ("q", "kv.k_proj", "kv.v_proj", "proj"),
    ("self.query", "self.key", "self.value", "output.dense"),
    ("q", "k", "v", "o"),
)
# timm's attentions that call one Linear whose output is query, key and value in blocks, and read nothing else of it.
FUSED = {
    ("timm.layers.attention", "Attention"),
    ("timm.layers.attention", "AttentionRope"),
    ("timm.models.fastvit", "Attention"),
    ("timm.models.swin_transformer", "WindowAttention"),
    ("timm.models.vision_transformer_relpos", "RelPosAttention"),
}
NAMED = re.compile(r"Atten|Attn|MHA")


class SplitAttention(nn.Module):
    """`nn.MultiheadAttention` (batch first) with separate projections: equal outputs."""

    q_proj: nn.Linear
    k_proj: nn.Linear
    v_proj: nn.Linear

    def __init__(self, fused: nn.MultiheadAttention) -> None:
        super().__init__()
        width, self.heads = fused.embed_dim, fused.num_heads
        weights = (
            fused.in_proj_weight.chunk(3)
            if fused._qkv_same_embed_dim
            else (fused.q_proj_weight, fused.k_proj_weight, fused.v_proj_weight)
        )
        for name, weight, bias in zip(
            ("q_proj", "k_proj", "v_proj"), weights, fused.in_proj_bias.chunk(3), strict=True
        ):
            setattr(self, name, _linear(weight, bias))
        self.out_proj = nn.Linear(width, width)
        self.out_proj.load_state_dict(fused.out_proj.state_dict())

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = False, attn_mask: Tensor | None = None
    ) -> tuple[Tensor, None]:
        """(B, L, width) to (B, L, width); the second item is there because MultiheadAttention has one.

        A mask is (L, L), or (B * heads, L, L) as MultiheadAttention takes it.
        """

        def heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        q, k, v = heads(self.q_proj(query)), heads(self.k_proj(key)), heads(self.v_proj(value))
        if attn_mask is not None and attn_mask.ndim == 3:
            attn_mask = attn_mask.unflatten(0, (-1, self.heads))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), None


class SplitLinear(nn.Module):
    """A Linear whose output is several projections side by side, as that many Linears: equal outputs."""

    def __init__(self, fused: nn.Linear, names: tuple[str, ...]) -> None:
        super().__init__()
        biases = fused.bias.chunk(len(names)) if fused.bias is not None else (None,) * len(names)
        for name, weight, bias in zip(names, fused.weight.chunk(len(names)), biases, strict=True):
            self.add_module(name, _linear(weight, bias))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out), as the Linear it replaces."""
        return torch.cat([projection(x) for projection in self.children()], dim=-1)


def split_attention(model: nn.Module) -> None:
    """Give every attention below `model` separate projections, where it is of a kind whose outputs stay equal."""
    for module in list(model.modules()):
        attention = getattr(module, "attn", None)
        if isinstance(attention, nn.MultiheadAttention) and _is_plain(attention, module):
            module.attn = SplitAttention(attention)
        kind = (type(module).__module__, type(module).__name__)
        if kind in FUSED and isinstance(module.qkv, nn.Linear):
            module.qkv = SplitLinear(module.qkv, ("q_proj", "k_proj", "v_proj"))
        elif kind == ("timm.models.eva", "EvaAttention") and module.qkv is not None:
            _split_eva(module)
        elif kind == ("timm.layers.attention_pool", "AttentionPoolLatent"):
            assert isinstance(module.kv, nn.Linear)
            module.kv = SplitLinear(module.kv, ("k_proj", "v_proj"))


def reach(towers: Mapping[str, nn.Module], targets: Iterable[str]) -> dict[str, list[str]]:
    """The paths, below each tower, of the projections that `targets` (q, k, v, out) mean in each of its attentions.

    Raises UserError, with the counts of every tower, when an attention is of a kind LoRA can't reach, or a tower has
    none.
    """
    wanted = tuple(targets)
    found: dict[str, list[str]] = {}
    counts, whole = [], True
    for name, tower in towers.items():
        all_ = list(attentions(tower))
        reached = [attention for attention in all_ if all(target in attention.projections for target in wanted)]
        unknown = sorted({attention.kind for attention in all_ if attention not in reached})
        rest = ", ".join(unknown) or ("no attention" if not all_ else "")
        counts.append(f"{name} {len(reached)} of {len(all_)}" + (f" ({rest})" if rest else ""))
        whole = whole and 0 < len(reached) == len(all_)
        found[name] = [attention.projections[target] for attention in reached for target in wanted]
    if not whole:
        raise UserError(
            f"LoRA can't reach all attention layers of this model: {', '.join(counts)}",
            hint="use a model whose towers are plain transformers",
        )
    return found


@dataclass(frozen=True)
class Attention:
    """One attention: its class, and the path of each projection that is a Linear of its own."""

    kind: str
    projections: dict[str, str]


def attentions(tower: nn.Module) -> Iterator[Attention]:
    """Every attention of a tower; one of an unknown kind has no projections."""
    yield from _attentions(tower, "")


def _attentions(module: nn.Module, path: str) -> list[Attention]:
    for layout in LAYOUTS:
        parts = {target: _child(module, name) for target, name in zip(TARGETS, layout, strict=True)}
        if all(part is not None for part in parts.values()):
            linear = {
                target: f"{path}{name}"
                for target, name in zip(TARGETS, layout, strict=True)
                if isinstance(parts[target], nn.Linear)
            }
            return [Attention(type(module).__name__, linear)]
    inside = [found for name, child in module.named_children() for found in _attentions(child, f"{path}{name}.")]
    kind = type(module).__name__
    if not inside and NAMED.search(kind) and any(True for _ in module.parameters()):
        return [Attention(kind, {})]
    return inside


def _child(module: nn.Module, path: str) -> nn.Module | None:
    found: nn.Module | None = module
    for name in path.split("."):
        found = found._modules.get(name) if found is not None else None
    return found


def _is_plain(attention: nn.MultiheadAttention, owner: nn.Module) -> bool:
    """Whether SplitAttention does all that it does: no added keys, no dropout, biases on."""
    same = attention._qkv_same_embed_dim or type(owner).__name__ == "AttentionalPooler"
    added = attention.bias_k is not None or attention.add_zero_attn
    return same and not added and attention.in_proj_bias is not None and attention.batch_first


def _split_eva(module: nn.Module) -> None:
    """timm's EVA attention has a form with separate projections; take it."""
    fused = module.qkv
    assert isinstance(fused, nn.Linear)
    q, k, v = fused.weight.chunk(3)
    module.q_proj = _linear(q, module.q_bias)  # type: ignore[arg-type]
    module.k_proj = _linear(k, None)  # its key bias is a buffer of zeros
    module.v_proj = _linear(v, module.v_bias)  # type: ignore[arg-type]
    for name in ("qkv", "q_bias", "k_bias", "v_bias"):
        setattr(module, name, None)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    made.weight.data.copy_(weight)
    if bias is not None:
        made.bias.data.copy_(bias)
    return made
