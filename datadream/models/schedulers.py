"""Which of diffusers' schedulers a Stable Diffusion folder may name, and what each can do. No torch here.

Left out are those that don't use the betas the model was trained with (EDM, flow matching, IPNDM, consistency
models), those made for another kind of model, and DPMSolverSDEScheduler, whose noise can't be drawn image by image.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datadream.errors import UserError
from datadream.models.configs import as_count, as_words

PREDICTIONS = ("epsilon", "v_prediction", "sample")
BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")

KNOWN = {
    "DDIMParallelScheduler",
    "DDIMScheduler",
    "DDPMParallelScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LCMScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "SASolverScheduler",
    "TCDScheduler",
    "UniPCMultistepScheduler",
}
NOT_SAMPLE = {
    "EulerAncestralDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "PNDMScheduler",
}
STOCHASTIC = {
    "DDPMParallelScheduler",
    "DDPMScheduler",
    "EulerAncestralDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "LCMScheduler",
    "SASolverScheduler",
    "TCDScheduler",
}
BETA_KEYS = ("beta_start", "beta_end", "beta_schedule")
# Classes whose betas, where the file leaves them out, aren't DDPM's.
OWN_BETAS = {
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LCMScheduler",
    "TCDScheduler",
}
CLASSES = {
    "ddim": "DDIMScheduler",
    "pndm": "PNDMScheduler",
    "dpm++2m": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
}
"""The classes of `generate.scheduler`; `default` is the folder's own."""


def is_stochastic(kind: str, config: Mapping[str, Any]) -> bool:
    """Whether a step of this class, so configured, takes random numbers."""
    return kind in STOCHASTIC or str(config.get("algorithm_type", "")).startswith("sde-")


def check_scheduler(kind: str, config: Mapping[str, Any], path: Path, solvers: set[str]) -> None:
    """Raise UserError unless the folder's scheduler states a noise schedule that we train and sample by.

    `solvers` are the values of `generate.scheduler` that will be used.
    """
    if kind not in KNOWN:
        raise UserError(
            f"the model's scheduler is {kind}, which does not support Stable Diffusion's noise schedule",
            at=path,
            hint="use one of " + ", ".join(sorted(name.removesuffix("Scheduler") for name in KNOWN)),
        )
    predicts = config.get("prediction_type", "epsilon")
    if predicts not in PREDICTIONS:
        raise UserError(
            f"the model's prediction_type is {as_words(predicts)}",
            at=path,
            hint=f"only {', '.join(PREDICTIONS)} are known",
        )
    for name in sorted(solvers):
        solver = CLASSES.get(name, kind)
        if predicts == "sample" and solver in NOT_SAMPLE:
            raise UserError(
                f"{solver} can't sample a model whose prediction_type is sample",
                at=path,
                hint="use -o generate.scheduler=ddim",
            )
    _check_betas(config, path)
    if config.get("use_flow_sigmas"):
        raise UserError(
            "the model's scheduler asks for flow matching (use_flow_sigmas)",
            at=path,
            hint="use a model trained with DDPM",
        )


def _check_betas(config: Mapping[str, Any], path: Path) -> None:
    steps = config.get("num_train_timesteps", 1000)
    if as_count(steps) is None:
        raise UserError(f"num_train_timesteps is {as_words(steps)}, not a number of steps", at=path)
    trained = config.get("trained_betas")
    if trained is not None:
        if not isinstance(trained, list) or len(trained) != steps or not all(_is_beta(beta) for beta in trained):
            raise UserError(f"trained_betas must hold {steps} numbers between 0 and 1", at=path)
        return
    schedule = config.get("beta_schedule", "linear")
    if schedule not in BETA_SCHEDULES:
        hint = f"only {', '.join(BETA_SCHEDULES)} are known"
        raise UserError(f"the model's beta_schedule is {as_words(schedule)}", at=path, hint=hint)
    for key in ("beta_start", "beta_end"):
        if key in config and not _is_beta(config[key]):
            raise UserError(f"{key} is {as_words(config[key])}, not a number between 0 and 1", at=path)


def _is_beta(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1
