"""What a job was asked for is what it reads: its model, its inputs, its spec, and what an earlier attempt left."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from datadream import canonical, durable
from datadream.canonical import sha256_file
from datadream.data.shots import ShotSet
from datadream.errors import UserError
from datadream.home import artifacts, control, provenance, state
from datadream.home.layout import Home
from datadream.home.lease import lease
from datadream.home.spec import JobSpec, id_of
from datadream.jobs import worker
from datadream.jobs.checkpoints import claim_checkpoint
from datadream.models.diffusion import load_diffusion
from datadream.models.presets import Backbone
from datadream.plans import ask, enqueue
from datadream.plans.request import Request
from datadream.stages.adapt import adapt
from datadream.stages.emit import Event, silent
from datadream.stages.generate import generate
from datadream.stages.kept import FINISHED, OWNER, Finished
from datadream.stages.loop import Loop, Schedule
from datadream.stages.settings import AdaptSettings, GenerateSettings, RehearseSettings
from datadream.stages.table import function_of
from datadream.stages.task import Task
from store import index
from store.check import check
from tests.conftest import TINY
from tests.runners import rehearsals

OVERRIDES = tuple(f"{key}={value}" for key, value in TINY.items() if not key.startswith("adapt."))


@pytest.fixture
def sd(mini: Backbone, tmp_path: Path) -> Path:
    return Path(shutil.copytree(mini.diffusion.location, tmp_path / "sd"))


def request(sd: Path) -> Request:
    return Request(("name-only",), source="digits", shots=(2,), data=("synth",), diffusion=str(sd), overrides=OVERRIDES)


def run(home: Home, job: str, attempt: int = 1) -> None:
    """One attempt, in this process."""
    with lease(home.job(job) / "lease", lambda _: None) as held:
        worker._run(home, job, attempt, held, provenance.Code())


def changed(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def place_of(home: Home, job: str) -> str:
    return state.read_request(home, job).place


# Where a model lies


@pytest.mark.parametrize("before", ["queued", "paused", "cancelled", "failed"])
def test_a_model_that_was_moved_is_read_where_it_was_asked_for_last(
    before: str, home: Home, sd: Path, tmp_path: Path
) -> None:
    (generate_job, _) = ask.submit(home, request(sd))
    spec = (home.job(generate_job) / "spec.json").read_bytes()
    if before == "paused":
        control.pause(home, generate_job)
    elif before == "cancelled":
        control.cancel(home, generate_job)
    sd.rename(tmp_path / "new")
    if before == "failed":
        with pytest.raises(UserError, match="was moved or removed"):
            run(home, generate_job)
        durable.write_json(home.job(generate_job) / "error.json", {"kind": "user", "message": "moved", "attempt": 1})
        durable.remove_file(home.queue / generate_job)
    again = ask.submit(home, request(tmp_path / "new"))
    assert again[0] == generate_job
    assert place_of(home, generate_job) == str(tmp_path / "new")
    assert (home.job(generate_job) / "spec.json").read_bytes() == spec
    status = state.derive(home, generate_job)
    assert (status.state, status.paused) == ("queued", False)
    run(home, generate_job, 2)
    manifest = artifacts.read_manifest(home, "synthetic", generate_job)
    assert manifest["spec"]["model"]["location"] == str(tmp_path / "new")
    assert manifest["origin"]["code"]["source"] == provenance.describe_code()["source"]


def test_a_retry_reads_the_place_that_was_named_last(home: Home, sd: Path, tmp_path: Path) -> None:
    (job, _) = ask.submit(home, request(sd))
    shutil.copytree(sd, tmp_path / "new")
    ask.submit(home, request(tmp_path / "new"))
    control.cancel(home, job)
    durable.remove_file(home.queue / job)
    shutil.rmtree(sd)
    control.retry(home, job)
    assert place_of(home, job) == str(tmp_path / "new")


def test_a_model_that_was_edited_fails_the_job_in_one_sentence(home: Home, sd: Path) -> None:
    (job, _) = ask.submit(home, request(sd))
    changed(sd / "unet" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(UserError, match="the model changed after the run was submitted") as caught:
        run(home, job)
    assert "\n" not in str(caught.value)
    assert not home.has("synthetic", job)
    assert ask.submit(home, request(sd))[0] != job


def test_no_place_makes_another_model_of_it(home: Home, sd: Path, tmp_path: Path) -> None:
    """A place is where to look, not what to take."""
    (job, _) = ask.submit(home, request(sd))
    other = shutil.copytree(sd, tmp_path / "other")
    changed(other / "unet" / "diffusion_pytorch_model.safetensors")
    content = json.loads((home.job(job) / "request.json").read_text())
    durable.write_json(home.job(job) / "request.json", {**content, "place": str(other)})
    with pytest.raises(UserError, match="the model changed"):
        run(home, job)


def test_a_request_of_the_first_version_is_read_from_its_spec(home: Home, sd: Path) -> None:
    (job, _) = ask.submit(home, request(sd))
    content = json.loads((home.job(job) / "request.json").read_text())
    for name in ("place", "code"):
        del content[name]
    durable.write_json(home.job(job) / "request.json", content)
    run(home, job)
    assert home.has("synthetic", job)


def test_a_model_written_to_while_it_draws_leaves_no_images(
    home: Home, sd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job, _) = ask.submit(home, request(sd))

    def stage(task: Any) -> Any:
        result = function_of("generate")(task)
        changed(sd / "vae" / "diffusion_pytorch_model.safetensors")
        return result

    load_diffusion.cache_clear()
    monkeypatch.setattr(worker, "function_of", lambda _: stage)
    with pytest.raises(UserError, match="the model changed"):
        run(home, job)
    assert not home.has("synthetic", job)


def test_what_is_submitted_is_what_was_planned(home: Home, sd: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('extends = "name-only"\n[generate]\nguidance_scale = 3.0\n')
    asked = Request((str(recipe),), source="digits", shots=(2,), data=("synth",), diffusion=str(sd))
    shown, kept = ask.plan(home, asked, dry=True), ask.plan(home, asked)
    recipe.write_text('extends = "name-only"\n[generate]\nguidance_scale = 4.0\n')
    with pytest.raises(UserError, match="a recipe or model changed after this plan was made"):
        ask.submit(home, shown)
    (job, _) = ask.submit(home, kept)
    assert state.read_spec(home, job).settings["guidance_scale"] == 3.0
    shown, kept = ask.plan(home, asked, dry=True), ask.plan(home, asked)
    changed(sd / "unet" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(UserError, match="changed after this plan"):
        ask.submit(home, shown)
    with pytest.raises(UserError, match="the model changed"):
        ask.submit(home, kept)


# Specs and inputs


def test_a_spec_is_the_one_its_folder_is_called_after(home: Home) -> None:
    one, other = enqueue.enqueue(home, rehearsals(2), {})
    path = home.job(one) / "spec.json"
    whole = path.read_text()
    for wrong in ((home.job(other) / "spec.json").read_text(), whole.replace('"steps": 100', '"steps": 101')):
        path.write_text(wrong)
        with pytest.raises(UserError, match="its hash is not the job's id"):
            state.read_spec(home, one)
        registry = index.open_registry(home)
        assert [finding for finding in check(home, registry) if finding.path == f"jobs/{one}"]
        registry.close()
    enqueue.enqueue(home, rehearsals(1), {})
    assert state.read_spec(home, one) == rehearsals(1)[0]
    path.write_text("{")
    enqueue.enqueue(home, rehearsals(1), {})
    assert state.derive(home, one).state == "queued"


def test_ids_are_those_of_the_first_version(mini: Backbone) -> None:
    """Also of what a spec.json or a manifest of it holds."""
    spec = JobSpec(stage="rehearse", settings=RehearseSettings(steps=3).model_dump(mode="json"), inputs={}, seed=1)
    assert spec.id == "b22ec2c51f2e0e24"
    cls = spec.model_copy(update={"stage": "classify", "model": mini.clip, "data": "real", "excluded": ("a/1.png",)})
    content = json.loads(json.dumps(cls.model_dump(mode="json")))
    assert id_of(content) == JobSpec.model_validate(content).id
    content["model"]["location"] = "/elsewhere"
    assert id_of(content) == JobSpec.model_validate(cls.model_dump(mode="json")).id
    for name in ("shard", "repeat", "excluded"):
        del content[name]
    assert id_of(content) == JobSpec.model_validate({**content, "excluded": ()}).id


def published(home: Home, files: dict[str, bytes]) -> JobSpec:
    (spec,) = rehearsals(1)
    staged = durable.make_dir(home.staging("rehearsal", spec.id))
    for name, data in files.items():
        durable.write_bytes(staged / name, data)
    artifacts.publish(home, "rehearsal", spec.id, spec.model_dump(mode="json"), {})
    return spec


def test_every_byte_of_an_input_is_looked_at(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large it is, and once while it stays the same."""
    size = 300 << 20
    spec = published(home, {"small": b"x"})
    folder = home.artifact("rehearsal", spec.id)
    with (folder / "large").open("wb") as file:
        file.truncate(size)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["large"] = {"sha256": sha256_file(folder / "large"), "size": size}
    manifest["content"] = artifacts.content_of(manifest["files"])
    manifest["digest"] = artifacts.manifest_digest(manifest)
    durable.write_json(folder / "manifest.json", manifest)
    read: list[Path] = []
    monkeypatch.setattr(canonical, "FRESH_NS", 0)
    monkeypatch.setattr(canonical, "sha256_file", lambda path: read.append(path) or sha256_file(path))
    for _ in range(3):
        artifacts.open_artifact(home, "rehearsal", spec.id)
    assert sorted(path.name for path in read) == ["large", "small"]
    with (folder / "large").open("r+b") as file:
        file.seek(size - 1)
        file.write(b"1")
    with pytest.raises(UserError, match="large was changed after it was made"):
        artifacts.open_artifact(home, "rehearsal", spec.id)


def test_looking_at_inputs_can_be_stopped(home: Home) -> None:
    spec = published(home, {"a": b"x", "b": b"y"})

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        artifacts.open_artifact(home, "rehearsal", spec.id, stop)


# What an earlier attempt left


def origin(spec: str = "a", **inputs: str) -> dict[str, Any]:
    return {"inputs": inputs or {"set": "1"}, "code": {"version": "1", "source": spec * 64}}


def test_a_checkpoint_of_other_inputs_or_another_job_is_not_gone_on_from(
    home: Home, capfd: pytest.CaptureFixture[str]
) -> None:
    (spec, other) = rehearsals(2)
    folder = claim_checkpoint(home, spec, origin())
    (folder / "count.json").write_text("{}")
    staged = durable.make_dir(home.staging("rehearsal", spec.id))
    assert claim_checkpoint(home, spec, origin()) == folder
    assert (folder / "count.json").exists() and staged.is_dir()
    assert capfd.readouterr().err == ""
    newer = origin("b")
    claim_checkpoint(home, spec, newer)
    assert (folder / "count.json").exists()
    assert (
        "resuming with version 1, files bbbbbbbb from a checkpoint of version 1, files aaaaaaaa"
        in capfd.readouterr().err
    )
    assert newer["earlier_code"] == [origin()["code"]]
    claim_checkpoint(home, spec, origin("b", set="2"))
    assert not (folder / "count.json").exists() and not staged.exists()
    assert "the checkpoint is from other inputs: it is removed" in capfd.readouterr().err
    shutil.copytree(folder, home.job(other.id) / "checkpoint")
    durable.make_dir(home.staging("rehearsal", other.id))
    claim_checkpoint(home, other, origin("b", set="2"))
    assert f"the checkpoint is from job {spec.id}" in capfd.readouterr().err
    assert not home.staging("rehearsal", other.id).exists()


def test_a_checkpoint_of_the_first_version_is_gone_on_from(home: Home, capfd: pytest.CaptureFixture[str]) -> None:
    (spec,) = rehearsals(1, steps=3, step_seconds=0.0)
    folder = durable.make_dir(home.job(spec.id) / "checkpoint")
    (folder / "count.json").write_text('{"step": 1, "chain": "x"}')
    enqueue.enqueue(home, [spec], {})
    run(home, spec.id)
    assert "checkpoint of an earlier version, without code" in capfd.readouterr().err
    steps = [
        event["step"]
        for event in durable.read_jsonl(home.job(spec.id) / "events.jsonl")[0]
        if event["kind"] == "metric"
    ]
    assert steps == [2, 3]


def loop(folder: Path) -> Loop:
    parameters = {"w": nn.Parameter(torch.zeros(8)), "b": nn.Parameter(torch.zeros(()))}
    return Loop(
        parameters,
        Schedule(9, 0.1, 0),
        weight_decay=0.0,
        max_grad_norm=1.0,
        checkpoint=folder,
        blame=lambda what, where: UserError(f"{what} {where}"),
    )


def step(training: Loop) -> None:
    training.update(((training.parameters["w"] - 3) ** 2).sum() + (training.parameters["b"] - 1) ** 2)


def test_a_training_state_names_its_owner_and_has_a_checksum(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    mine, other = durable.make_dir(tmp_path / "mine"), durable.make_dir(tmp_path / "other")
    for folder, spec in ((mine, "a"), (other, "b")):
        durable.write_json(folder / OWNER, {"spec": spec, "inputs": {}, "code": {}})
    training = loop(mine)
    step(training)
    training.save()
    assert loop(mine).step == 1
    whole = (mine / "state.safetensors").read_bytes()
    for place in (len(whole) - 1, len(whole) - 40):
        data = bytearray(whole)
        data[place] ^= 64
        (mine / "state.safetensors").write_bytes(bytes(data))
        assert loop(mine).step == 0
    assert "its checksum does not match" in capfd.readouterr().err
    (other / "state.safetensors").write_bytes(whole)
    assert loop(other).step == 0
    assert "belongs to another job" in capfd.readouterr().err
    (mine / "state.safetensors").write_bytes(whole)
    durable.write_json(mine / OWNER, {"spec": "a", "inputs": {"set": "2"}, "code": {}})
    assert loop(mine).step == 0
    old = {
        f"{part}/{name}": tensor.detach().clone()
        for part in ("value", "exp_avg", "exp_avg_sq")
        for name, tensor in training.parameters.items()
    }
    durable.write_safetensors(mine / "state.safetensors", old, {"step": "5", "label": ""})  # as the first version wrote
    assert loop(mine).step == 5


def cut(path: Path, _: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def one_bit(path: Path, _: Path) -> None:
    changed(path)


def another_image(path: Path, other: Path) -> None:
    shutil.copyfile(other, path)


def gone(path: Path, _: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("spoil", [cut, one_bit, another_image, gone], ids=lambda spoil: spoil.__name__)
def test_a_staged_image_that_is_not_what_was_drawn_is_drawn_again(
    spoil: Callable[[Path, Path], None], mini: Backbone, two_shots: ShotSet, tmp_path: Path
) -> None:
    drawing = GenerateSettings(images_per_class=4, batch_size=2, num_inference_steps=2)
    few: dict[str, Any] = {"classes": two_shots.classes[:2], "prompts": two_shots.prompts[:2]}

    def draw(out: Path, emit: Callable[[Event], None] = silent) -> None:
        checkpoint = durable.make_dir(tmp_path / f"checkpoint-{out.name}")
        generate(Task(drawing, durable.make_dir(out), checkpoint, emit, model=mini.diffusion, **few))

    def stop(event: Event) -> None:
        if event["done"] == 6:
            raise KeyboardInterrupt

    draw(tmp_path / "whole")
    whole = {path.relative_to(tmp_path / "whole"): path.read_bytes() for path in (tmp_path / "whole").rglob("*.png")}
    parts = tmp_path / "parts"
    with pytest.raises(KeyboardInterrupt):
        draw(parts, stop)
    first, second = sorted(parts.rglob("*.png"))[:2]
    third = sorted(parts.rglob("*.png"))[2]
    spoil(first, third)
    kept = third.stat().st_mtime_ns
    draw(parts)
    assert {path.relative_to(parts): path.read_bytes() for path in parts.rglob("*.png")} == whole
    assert third.stat().st_mtime_ns == kept  # a whole run is not drawn again
    assert second.exists()


def test_a_finished_adapter_that_was_replaced_is_trained_again(
    mini: Backbone, two_shots: ShotSet, tmp_path: Path
) -> None:
    training = AdaptSettings(per="class", steps=10, batch_size=1)

    def train(name: str) -> Path:
        out, checkpoint = durable.make_dir(tmp_path / name), durable.make_dir(tmp_path / f"checkpoint-{name}")
        adapt(Task(training, out, checkpoint, model=mini.diffusion, shots=two_shots))
        return out

    out = train("out")
    whole = {path.name: path.read_bytes() for path in out.iterdir()}
    shutil.copyfile(out / "class-00001.safetensors", out / "class-00000.safetensors")
    changed(out / "class-00002.safetensors")
    kept = (out / "class-00003.safetensors").stat().st_mtime_ns
    assert {path.name: path.read_bytes() for path in train("out").iterdir()} == whole
    assert (out / "class-00003.safetensors").stat().st_mtime_ns == kept


def test_what_is_finished_is_remembered_for_its_owner_alone(tmp_path: Path) -> None:
    root, checkpoint = durable.make_dir(tmp_path / "root"), durable.make_dir(tmp_path / "checkpoint")
    durable.write_json(checkpoint / OWNER, {"spec": "a", "inputs": {"set": "1"}})
    (root / "x").write_bytes(b"x")
    finished = Finished(root, checkpoint)
    assert not finished.holds(root / "x")
    finished.add(root / "x", sha256_file(root / "x"))
    finished.close()
    with (checkpoint / FINISHED).open("a") as file:
        file.write('{"torn')
    assert Finished(root, checkpoint).holds(root / "x")
    durable.write_json(checkpoint / OWNER, {"spec": "a", "inputs": {"set": "2"}})
    assert not Finished(root, checkpoint).holds(root / "x")
    assert Finished(root, None, {"x": sha256_file(root / "x")}).holds(root / "x")
    assert not Finished(root, None).holds(root / "x")


def test_parts_drawn_by_other_jobs_are_compared_with_their_manifests(
    home: Home,
) -> None:
    asked = Request(("name-only",), source="digits", shots=(2,), data=("synth",), overrides=OVERRIDES, shards=2)
    first, second, whole, _ = ask.submit(home, asked)
    run(home, first)
    run(home, second)
    staged = durable.make_dir(home.staging("synthetic", whole) / "data" / "train" / "zero")
    (staged / "00000.png").write_bytes(b"no picture")
    run(home, whole)
    drawn = home.artifact("shard", first) / "data" / "train" / "zero" / "00000.png"
    assert (
        home.artifact("synthetic", whole) / "data" / "train" / "zero" / "00000.png"
    ).read_bytes() == drawn.read_bytes()
    inputs = artifacts.read_manifest(home, "synthetic", whole)["origin"]["inputs"]
    assert set(inputs) == {"shard 0", "shard 1"}
