"""The places where methods differ: each formula by hand, each table whole, and one method that another package brings."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from datadream.data.shots import ShotSet
from datadream.methods import guidance, losses, plugs, starts
from datadream.models.diffusion import load_diffusion
from datadream.models.presets import Backbone
from datadream.stages.generate import Run, class_moments, denoise, guidance_text
from datadream.stages.settings import ClassifySettings, GenerateSettings
from tests.conftest import TINY_OPTIONS, run_cli


@pytest.mark.parametrize("table", plugs.TABLES)
def test_every_method_of_a_table_is_a_short_function_that_says_what_it_is(table: str) -> None:
    assert set(plugs.FIELDS.values()) == set(plugs.TABLES)
    for name in plugs.TABLES[table]:
        function = plugs.find(table, name)
        assert len(inspect.getsource(function).splitlines()) < 40
        assert len((function.__doc__ or "").split()) > 5


def test_methods_are_listed_without_torch() -> None:
    code = "from datadream.stages import settings, table; from datadream.methods import plugs; plugs.names('starts')"
    done = subprocess.run([sys.executable, "-c", f"import sys; {code}; assert 'torch' not in sys.modules"], check=False)
    assert done.returncode == 0


def test_settings_of_before_have_the_hash_of_before() -> None:
    for kind, later in ((GenerateSettings, {"start", "start_strength", "cfg"}), (ClassifySettings, {"loss"})):
        assert kind.later == later
        assert not later & set(kind().model_dump(mode="json"))
    dumped = GenerateSettings(start="shots").model_dump(mode="json")
    assert dumped["start"] == "shots"
    assert GenerateSettings.model_validate(dumped) == GenerateSettings(start="shots")
    assert "start_strength" not in dumped


def test_a_method_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValidationError, match="there is no 'shot': did you mean 'shots'"):
        GenerateSettings(start="shot")
    with pytest.raises(ValidationError, match="there is no 'x': constant, interval"):
        GenerateSettings(cfg="x")
    with pytest.raises(ValidationError, match="did you mean 'mixed'"):
        ClassifySettings(loss="mixd")


def test_pooled_loss_is_the_mean_over_all_rows() -> None:
    real, synth = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    labels = torch.tensor([0]), torch.tensor([0, 1, 1])
    found = losses.pooled(real, labels[0], synth, labels[1], 0.8)
    assert found.item() == pytest.approx((0.126928 + 3 * 0.693147) / 4, abs=1e-5)  # ln(1 + e^-2), ln 2
    assert torch.equal(found, losses.pooled(real, labels[0], synth, labels[1], 0.1))


def test_guidance_in_an_interval_is_plain_outside_it() -> None:
    empty, prompted = torch.tensor([1.0]), torch.tensor([3.0])
    assert guidance.constant(empty, prompted, 2.0, 0.0).item() == 5.0
    found = [guidance.interval(empty, prompted, 2.0, part).item() for part in (0.0, 0.19, 0.2, 0.5, 0.8, 0.81, 1.0)]
    assert found == [3.0, 3.0, 5.0, 5.0, 5.0, 3.0, 3.0]


def request_of(mini: Backbone, scheduler: str, places: list[tuple[int, int]], strength: float) -> starts.Request:
    sd = load_diffusion(mini.diffusion)
    mean = torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, *sd.latent_shape)
    moments = torch.cat([mean, torch.full_like(mean, -1e9)], dim=1)  # no deviation: E(x) is its mean
    return starts.Request(sd.solver(scheduler, 10), 10, sd.latent_shape, 1, places, strength, moments, 0.5)


@pytest.mark.parametrize(("strength", "first"), [(1.0, 0), (0.75, 2), (0.5, 5), (0.01, 9)])
def test_a_start_from_shots_is_the_shot_noised_to_its_step(mini: Backbone, strength: float, first: int) -> None:
    request = request_of(mini, "ddim", [(0, 0), (4, 7)], strength)
    latents, begun = starts.from_shots(request)
    assert begun == first
    t = request.solver.timesteps[first]
    kept = request.solver.alphas_cumprod[t]
    noise, _ = starts.from_noise(request)
    rest = (latents - (1 - kept).sqrt() * noise) / kept.sqrt()  # z = sqrt(a) x + sqrt(1 - a) eps
    shots = [found.flatten()[0].item() for found in rest]
    assert all(min(abs(shot - 0.5 * index) for index in range(3)) < 1e-3 for shot in shots)
    assert all((found - found.flatten()[0]).abs().max() < 1e-3 for found in rest)


def test_an_image_has_its_shot_in_any_batch_and_every_shot_serves(mini: Backbone) -> None:
    places = [(2, index) for index in range(24)]
    together, _ = starts.from_shots(request_of(mini, "ddim", places, 0.5))
    apart = torch.cat([starts.from_shots(request_of(mini, "ddim", [place], 0.5))[0] for place in places])
    assert torch.equal(together, apart)
    request = request_of(mini, "ddim", places, 0.5)
    kept = request.solver.alphas_cumprod[request.solver.timesteps[5]]
    rest = (together - (1 - kept).sqrt() * starts.from_noise(request)[0]) / kept.sqrt()
    assert {round(found.mean().item() / 0.5) for found in rest} == {0, 1, 2}


def test_images_from_shots_are_nearer_to_them_the_less_is_redrawn(mini: Backbone, two_shots: ShotSet) -> None:
    sd = load_diffusion(mini.diffusion)
    text = guidance_text(sd, "a photo of a two")
    settings = GenerateSettings(start="shots", num_inference_steps=10, scheduler="dpm++2m", guidance_scale=2.0)
    moments = class_moments(sd, two_shots, 2, settings)
    assert len(moments) == 2
    pixels = sd.decode(moments.chunk(2, dim=1)[0] * sd.vae.config.scaling_factor)
    real = ((pixels + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1)
    distances = []
    for strength in (0.1, 0.5, 1.0):
        one = settings.model_copy(update={"start_strength": strength})
        drawn = denoise(sd, one, text, Run(2, 0, 4), 1, moments=moments).float() / 255
        distances.append((drawn[:, None] - real).abs().mean(dim=(2, 3, 4)).min(dim=1).values.mean().item())
    assert distances == sorted(distances)
    assert distances[0] < 0.5 * distances[2]


@pytest.mark.parametrize("scheduler", ["default", "pndm"])
def test_a_sampler_that_cannot_begin_midway_is_refused(mini: Backbone, scheduler: str) -> None:
    request = request_of(mini, scheduler, [(0, 0)], 0.5)
    if len(request.solver.timesteps) == 10:
        pytest.skip("the miniature's own sampler can")
    from datadream.errors import UserError

    with pytest.raises(UserError, match=r"can't begin midway.*dpm\+\+2m"):
        starts.from_shots(request)


def test_a_run_from_shots_names_its_set_and_is_another_row(tmp_path: Path) -> None:
    home = tmp_path / "home"
    made = run_cli(
        *("run", "name-only", "disef-start", "--source", "digits", "--shots", 2, "--seeds", 1, "--data", "synth"),
        *TINY_OPTIONS[6:],
        home=home,
    )
    assert made.returncode == 0, made.stderr
    manifests = [json.loads(path.read_text()) for path in home.glob("artifacts/synthetic/*/manifest.json")]
    by_start = {manifest["spec"]["settings"].get("start", "noise"): manifest for manifest in manifests}
    assert set(by_start) == {"noise", "shots"}
    assert set(by_start["shots"]["spec"]["inputs"]) == {"set"}
    assert by_start["noise"]["spec"]["inputs"] == {}
    rows = json.loads(run_cli("compare", "--format", "json", home=home).stdout)
    assert sorted(row["method"] for row in rows) == ["disef-start", "name-only"]


PLUG = """
def darker(request):
    from datadream.methods import starts
    latents, first = starts.from_noise(request)
    return latents * 0.5, first
"""


def install(folder: Path, version: str) -> None:
    """A package as pip would leave it."""
    info = folder / f"dark-{version}.dist-info"
    for old in folder.glob("dark-*.dist-info"):
        shutil.rmtree(old)
    info.mkdir(parents=True, exist_ok=True)
    (folder / "dark.py").write_text(PLUG)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dark\nVersion: {version}\n")
    (info / "entry_points.txt").write_text("[datadream.starts]\ndarker = dark:darker\n")


def test_a_method_of_another_package_runs_and_its_version_is_part_of_the_id(tmp_path: Path) -> None:
    recipe = tmp_path / "dark.toml"
    recipe.write_text('name = "dark"\nextends = "name-only"\n[generate]\nstart = "darker"\n')
    words = ["run", recipe, "--source", "digits", "--shots", 2, "--seeds", 1, "--data", "synth", *TINY_OPTIONS[6:]]
    home = tmp_path / "home"
    without = run_cli(*words, "--dry-run", home=home)
    assert without.returncode == 2
    assert "there is no 'darker'" in without.stderr
    ids = []
    for version in ("1.0", "1.1"):
        install(tmp_path / "site", version)
        path = os.pathsep.join(filter(None, [str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]))
        done = run_cli(*words, home=home, PYTHONPATH=path)
        assert done.returncode == 0, done.stderr
        ids.append(
            {
                json.loads(found.read_text())["spec"]["plugs"][0]
                for found in home.glob("artifacts/synthetic/*/manifest.json")
            }
        )
    assert ids == [{"starts darker dark 1.0"}, {"starts darker dark 1.0", "starts darker dark 1.1"}]
