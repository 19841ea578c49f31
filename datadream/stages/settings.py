"""What each stage can be told, with the paper's values as defaults. No torch here: recipes and the CLI read it.

Kim et al. 2024 (arXiv 2407.10910), sections 3.2, 3.3 and 4.1, and the authors' published flags.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
)

from datadream.methods import plugs

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Projection = Literal["q", "k", "v", "out"]
BLIND = frozenset({"all"})  # selections that look at no image


class Settings(BaseModel):
    """Frozen, no unknown keys.

    Fields in `later` came after others had been hashed: at their defaults they are left out, so that ids stay.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    later: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _dumped(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = dump(self)
        fields = type(self).model_fields
        return {
            name: value
            for name, value in found.items()
            if name not in self.later or getattr(self, name) != fields[name].default
        }


class AdaptSettings(Settings):
    """LoRA on Stable Diffusion (paper section 3.2)."""

    per: Literal["dataset", "class"] = Field("dataset", description="one adapter for all classes, or one per class")
    rank: Count = Field(16, description="r of the low-rank matrices A (r, d) and B (d, r)")
    alpha: Positive = Field(16.0, description="scale of the update is alpha / rank")
    targets: tuple[Projection, ...] = Field(("q", "k", "v", "out"), min_length=1, description="attention projections")
    text_encoder: bool = Field(True, description="adapt the text encoder too")
    epochs: Count = Field(200, description="passes over the shots; steps = epochs * ceil(shots * classes / batch_size)")
    steps: Count | None = Field(None, description="total optimizer steps, instead of epochs")
    batch_size: Count = 8
    learning_rate: Positive = 1e-4
    warmup_steps: int = Field(100, ge=0, description="per adapter; at most half of its steps")
    weight_decay: float = Field(1e-2, ge=0)
    max_grad_norm: Positive = 1.0
    crop: Literal["random", "center"] = Field("random", description="square cut from the image after resizing")

    def total_steps(self, shots: int, classes: int) -> int:
        """Optimizer steps over all adapters; `class` mode divides the same number among its adapters."""
        return self.steps or self.epochs * -(-shots * classes // self.batch_size)

    def steps_of(self, shots: int, classes: int) -> list[int]:
        """Steps of each adapter: [S] for `dataset`; for `class` S split as evenly as it goes, at least 1 each."""
        total = self.total_steps(shots, classes)
        if self.per == "dataset":
            return [total]
        return [max(1, total // classes + (i < total % classes)) for i in range(classes)]


class GenerateSettings(Settings):
    """Sampling the synthetic set (paper section 4.1: 500 images a class, 50 steps, guidance 2.0)."""

    images_per_class: Count = 500
    num_inference_steps: Count = 50
    guidance_scale: float = Field(2.0, ge=0, description="1.0 or less: no guidance")
    scheduler: Literal["default", "ddim", "pndm", "dpm++2m", "unipc"] = Field(
        "default", description="default: the scheduler in the model's folder"
    )
    batch_size: Count = Field(16, description="images denoised together; a class is split into fixed batches of these")
    start: str = Field("noise", description="what sampling starts from: noise, or noised shots of the class")
    start_strength: float = Field(0.75, gt=0, le=1, description="fraction of the steps to take from noised shots")
    cfg: str = Field("constant", description="guidance_scale at every step (constant) or in the middle ones (interval)")
    later: ClassVar[frozenset[str]] = frozenset({"start", "start_strength", "cfg"})

    @field_validator("start", "cfg")
    @classmethod
    def _is_known(cls, name: str, info: ValidationInfo) -> str:
        plugs.check(plugs.FIELDS[str(info.field_name)], name)
        return name


class SelectSettings(Settings):
    """Which of the drawn images a classifier trains on: many selections of one drawn pool, each cheap."""

    by: str = Field("all", description="all, those CLIP takes for their class (clip), or a method of another package")
    keep: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="fraction of a class's images to keep at most")

    @field_validator("by")
    @classmethod
    def _is_known(cls, name: str) -> str:
        plugs.check("selection", name)
        return name


class ClassifySettings(Settings):
    """LoRA on CLIP (paper section 3.3, loss L_C)."""

    rank: Count = 16
    alpha: Positive = 32.0
    dropout: float = Field(0.1, ge=0, lt=1)
    targets: tuple[Projection, ...] = Field(("q", "v"), min_length=1)
    real_weight: Fraction = Field(0.8, description="λ in λ·CE(real) + (1-λ)·CE(synth)")
    epochs: Count = Field(60, description="steps = epochs * ceil(2 * classes * epoch_images / batch_size)")
    epoch_images: Count = Field(500, description="images per class and kind in one epoch")
    steps: Count | None = Field(None, description="optimizer steps, instead of epochs")
    batch_size: Count = 256
    learning_rate: Positive = 1e-4
    min_learning_rate: float = Field(1e-8, ge=0)
    warmup: Fraction = Field(0.1, description="fraction of the steps for warmup")
    weight_decay: float = Field(1e-4, ge=0)
    max_grad_norm: Positive = 1.0
    augment: Literal["datadream", "crop", "affine", "none"] = Field(
        "datadream", description="datadream: the authors' chain; crop: resized crop and flip; affine: no flips"
    )
    mix: Fraction = Field(0.2, description="probability that a batch is mixed, by CutMix or MixUp with equal chance")
    evaluate: Literal["test", "val"] = Field("test", description="split that accuracy is reported on")
    loss: str = Field("mixed", description="mixed: the two means weighted by real_weight; pooled: all images alike")
    later: ClassVar[frozenset[str]] = frozenset({"loss"})

    @field_validator("loss")
    @classmethod
    def _is_known(cls, name: str) -> str:
        plugs.check("losses", name)
        return name

    def total_steps(self, classes: int) -> int:
        """Optimizer steps: the same for every method and data mode, so that compute is equal in one table."""
        return self.steps or self.epochs * -(-2 * classes * self.epoch_images // self.batch_size)


class RehearseSettings(Settings):
    """A job without models, to try out slots, clusters and interruptions."""

    steps: Count = 100
    step_seconds: float = Field(0.01, ge=0)
    checkpoint_steps: Count = Field(1, description="steps between two checkpoints")
    size: int = Field(0, ge=0, description="bytes of an extra file that it writes")
    children: int = Field(0, ge=0, description="child processes, like a data loader's")
    fail_at: int = Field(-1, description="step to fail at; -1: none")
