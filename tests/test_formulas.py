"""The paper's formulas against numbers worked out by hand, and the models' exchange parts against the originals."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from torch import nn
from transformers import CLIPTokenizer

from datadream.data.shots import ShotSet
from datadream.methods import starts
from datadream.methods.losses import mixed as mixed_loss
from datadream.models import runtime
from datadream.models.attention import SplitAttention
from datadream.models.clip import load_clip
from datadream.models.diffusion import Diffusion, load_diffusion, training_target
from datadream.models.lora import Adapter, Lora, Merger, load_adapter, save_adapter
from datadream.models.presets import Backbone
from datadream.stages.classify import score
from datadream.stages.generate import Run, denoise, guidance_text, runs
from datadream.stages.loop import Schedule
from datadream.stages.settings import GenerateSettings

LN2 = math.log(2)


def test_mixed_loss_is_the_weighted_sum_of_means() -> None:
    # Real: one row of equal logits, CE = ln 2. Synthetic: two rows, ln 2 and ln(1 + e^-ln3) = ln(4/3).
    real, synth = torch.zeros(1, 2), torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    loss = mixed_loss(real, torch.tensor([1]), synth, torch.tensor([0, 0]), 0.8)
    assert loss.item() == pytest.approx(0.8 * LN2 + 0.2 * (LN2 + math.log(4 / 3)) / 2)


def test_mixed_loss_of_a_batch_without_one_kind_has_no_nan() -> None:
    logits, labels, none = torch.zeros(2, 2), torch.tensor([0, 1]), torch.zeros(0, 2)
    empty = torch.zeros(0, dtype=torch.int64)
    assert mixed_loss(logits, labels, none, empty, 0.8).item() == pytest.approx(0.8 * LN2)
    assert mixed_loss(none, empty, logits, labels, 0.8).item() == pytest.approx(0.2 * LN2)


def test_targets_follow_the_models_own_prediction_type() -> None:
    x, noise, t = torch.tensor([[2.0]]), torch.tensor([[0.5]]), torch.tensor([300])
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    a = torch.cumprod(1 - betas, 0)[300]
    config = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    v = DDIMScheduler(prediction_type="v_prediction", **config)
    # v = sqrt(a) eps - sqrt(1 - a) x (Salimans and Ho 2022)
    assert training_target(v, x, noise, t).item() == pytest.approx(
        (a.sqrt() * 0.5 - (1 - a).sqrt() * 2).item(), abs=1e-6
    )
    epsilon = DDIMScheduler(prediction_type="epsilon", **config)
    assert training_target(epsilon, x, noise, t) is noise


def test_schedule_warms_up_then_falls_as_half_a_cosine() -> None:
    schedule = Schedule(steps=10, peak=1.0, warmup=2, floor=0.0)
    assert [schedule.rate(step) for step in (0, 1, 2)] == [0.0, 0.5, 1.0]
    assert schedule.rate(6) == pytest.approx(0.5)
    assert schedule.rate(9) == pytest.approx(0.5 * (1 + math.cos(math.pi * 7 / 8)))


def test_score_counts_exactly() -> None:
    found = score(torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1, 1]), 3)
    assert found == {"correct": 2, "n": 4, "per_class": [[1, 2], [1, 1], [0, 1]],
                     "confusion": [[1, 1, 0], [0, 1, 0], [0, 1, 0]]}  # fmt: skip


def random_adapter(backbone: Backbone, rank: int = 4, alpha: float = 8.0) -> tuple[Lora, Adapter, SimpleNamespace]:
    sd = load_diffusion(backbone.diffusion)
    names = {"unet": ["to_q", "to_k", "to_v", "to_out.0"], "text_encoder": ["q_proj", "k_proj", "v_proj", "out_proj"]}
    lora = Lora({part: (getattr(sd, part), targets) for part, targets in names.items()}, rank=rank, alpha=alpha)
    lora.reset("test", 0)
    for name, parameter in lora.parameters.items():
        if "lora_B" in name:
            parameter.data.copy_(0.1 * runtime.normal(tuple(parameter.shape), "test", 1, name))
    return lora, lora.adapter(), SimpleNamespace(sd=sd, names=names)


def said(sd: object) -> torch.Tensor:
    with torch.no_grad():
        text = sd.encode_prompts(["a photo of a three"])  # type: ignore[attr-defined]
        return sd.denoise(runtime.normal((1, 4, 8, 8), "test", 2), torch.tensor([500]), text)  # type: ignore[attr-defined]


def test_merged_equals_unmerged_and_restores_to_the_last_bit(mini: Backbone) -> None:
    sd = load_diffusion(mini.diffusion)
    before = said(sd)
    lora, adapter, _ = random_adapter(mini)
    unmerged = said(sd)
    lora.detach()
    assert torch.equal(said(sd), before)
    merger = Merger({"unet": sd.unet, "text_encoder": sd.text_encoder})
    merger.merge(adapter)
    merged = said(sd)
    merger.restore()
    assert (unmerged - before).abs().max() > 1e-2
    assert torch.allclose(merged, unmerged, atol=1e-4)
    assert torch.equal(said(sd), before)


def test_a_new_adapter_changes_nothing_because_b_is_zero(mini: Backbone) -> None:
    sd = load_diffusion(mini.diffusion)
    before = said(sd)
    lora = Lora({"unet": (sd.unet, ["to_q"])}, rank=2, alpha=2)
    lora.reset("test", 0)
    after = said(sd)
    a = next(parameter for name, parameter in lora.parameters.items() if "lora_A" in name)
    assert 0.2 < a.std().item() < 0.8  # gaussian with deviation 1 / rank
    lora.detach()
    assert torch.equal(before, after)


def test_diffusers_reads_our_adapter_file_with_its_true_scale(mini: Backbone, tmp_path) -> None:  # type: ignore[no-untyped-def]
    lora, adapter, held = random_adapter(mini)
    ours = said(held.sd)
    lora.detach()
    save_adapter(tmp_path / "adapter.safetensors", adapter, held.names)
    again = load_adapter(tmp_path / "adapter.safetensors")
    assert all(torch.equal(adapter.tensors[name], again.tensors[name]) for name in adapter.tensors)
    pipe = StableDiffusionPipeline.from_pretrained(mini.diffusion.location)
    pipe.load_lora_weights(tmp_path, weight_name="adapter.safetensors")
    ids = pipe.tokenizer(["a photo of a three"], padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        text = pipe.text_encoder(ids)[0]
        theirs = pipe.unet(runtime.normal((1, 4, 8, 8), "test", 2), 500, encoder_hidden_states=text).sample
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_split_attention_equals_the_fused_one() -> None:
    torch.manual_seed(0)
    fused = nn.MultiheadAttention(12, 3, batch_first=True)
    x, mask = torch.randn(2, 5, 12), torch.full((5, 5), float("-inf")).triu(1)
    assert torch.allclose(
        SplitAttention(fused)(x, x, x, attn_mask=mask)[0], fused(x, x, x, attn_mask=mask)[0], atol=1e-6
    )


def test_cutting_padding_off_prompts_changes_no_text_feature(mini: Backbone) -> None:
    clip = load_clip(mini.clip)
    prompts = ["a photo of a three", "a photo of a digit seven"]
    short = clip.tokens(prompts)
    full = clip.tokenizer(prompts)
    assert short.shape[1] < full.shape[1]
    with torch.no_grad():
        assert torch.allclose(clip.encode_text(short), clip.model.encode_text(full, normalize=True), atol=1e-5)


def test_the_mini_pipeline_loads_unmodified_and_draws(mini: Backbone) -> None:
    pipe = StableDiffusionPipeline.from_pretrained(mini.diffusion.location)
    assert isinstance(pipe.tokenizer, CLIPTokenizer)
    pipe.set_progress_bar_config(disable=True)
    image = pipe("a photo of a three", num_inference_steps=2, guidance_scale=2.0).images[0]
    assert image.size == (32, 32)


def test_our_sampler_is_diffusers_own(mini: Backbone) -> None:
    pipe = StableDiffusionPipeline.from_pretrained(mini.diffusion.location)
    pipe.set_progress_bar_config(disable=True)
    sd = load_diffusion(mini.diffusion)
    settings = GenerateSettings(images_per_class=1, num_inference_steps=4, guidance_scale=3.0)
    text = guidance_text(sd, "a photo of a five")
    ours = denoise(sd, settings, text, Run(0, 0, 1), seed=7)[0].int()
    latents = image_noise(sd, 7, (0, 0))
    theirs = pipe("a photo of a five", num_inference_steps=4, guidance_scale=3.0, latents=latents, output_type="pt")
    reference = (theirs.images[0].permute(1, 2, 0) * 255).round().int()
    assert (ours - reference).abs().max() <= 1


@pytest.mark.parametrize("scheduler", ["default", "ddim", "pndm", "dpm++2m", "unipc"])
def test_an_images_noise_does_not_depend_on_batch_size_or_shard(mini: Backbone, scheduler: str) -> None:
    sd = load_diffusion(mini.diffusion)
    settings = GenerateSettings(images_per_class=5, num_inference_steps=4, scheduler=scheduler)
    text = guidance_text(sd, "a photo of a two")
    together = denoise(sd, settings, text, Run(2, 0, 5), seed=1)
    apart = torch.cat(
        [denoise(sd, settings, text, Run(2, start, stop), seed=1) for start, stop in ((4, 5), (0, 1), (1, 4))]
    )
    reordered = apart[[1, 2, 3, 4, 0]]
    same = (together.int() - reordered.int()).abs() <= 1
    assert same.float().mean() > 0.999
    assert not torch.equal(together[0], together[1])


def image_noise(sd: Diffusion, seed: int, place: tuple[int, int]) -> torch.Tensor:
    solver = sd.solver("ddim", 4)  # its first sigma is 1
    return starts.from_noise(starts.Request(solver, 4, sd.latent_shape, seed, [place]))[0]


def test_noise_is_its_own_for_every_seed_class_and_index(mini: Backbone) -> None:
    sd = load_diffusion(mini.diffusion)
    drawn = [image_noise(sd, seed, place) for seed, place in ((1, (0, 0)), (2, (0, 0)), (1, (1, 0)), (1, (0, 1)))]
    assert all(not torch.equal(drawn[0], other) for other in drawn[1:])
    assert torch.equal(drawn[0], image_noise(sd, 1, (0, 0)))


def test_runs_cover_every_index_once() -> None:
    found = runs(GenerateSettings(images_per_class=7, batch_size=3), 2)
    covered = [(run.class_, index) for run in found for index in range(run.start, run.stop)]
    assert covered == [(class_, index) for class_ in range(2) for index in range(7)]


def test_stream_passes_over_everything_before_repeating() -> None:
    whole = runtime.stream(5, "test", 0, 0, 20)
    assert all(sorted(whole[i : i + 5]) == [0, 1, 2, 3, 4] for i in range(0, 20, 5))
    assert runtime.stream(5, "test", 0, 7, 6) == whole[7:13]


def test_prompts_reach_clip_as_the_recipe_says(two_shots: ShotSet) -> None:
    assert two_shots.prompts[3] == "a photo of a three"


def test_mini_weights_fit_in_the_wheel(mini: Backbone) -> None:
    from pathlib import Path

    folder = Path(mini.diffusion.location).parent
    sizes = [path.stat().st_size for path in folder.rglob("*.safetensors")]
    assert sum(sizes) <= 16 * 2**20
    assert (folder / "README.md").is_file()
