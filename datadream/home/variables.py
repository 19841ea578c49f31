"""Variables of the environment by allow-list: what a process of ours gets, and what stands with a request.

A job runs with the settings of whoever asked for it, not with those of the shell that happened to start the runner.
KEPT ones are written into request.json with their values. NOTED ones may hold a secret: only that they were set is
written, and a job gets the runner's own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from datadream import paths
from datadream.errors import UserError
from datadream.home.provenance import SECRET, USERINFO, masked
from datadream.models.environment import DEVICE, ENVIRONMENT, forget_unset
from datadream.models.gpus import VISIBLE

DEVICES = (VISIBLE, "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES")  # a cluster sets them for each of its jobs
FOLDERS = (
    *("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_ASSETS_CACHE", "HF_XET_CACHE", "TRANSFORMERS_CACHE"),
    *("TORCH_HOME", "XDG_CACHE_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)
KEPT = (
    *DEVICES,
    *(DEVICE, "OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "OMP_DYNAMIC", "OMP_WAIT_POLICY", "OMP_PROC_BIND", "OMP_PLACES"),
    *("GOMP_SPINCOUNT", "GOMP_CPU_AFFINITY", "KMP_AFFINITY", "KMP_BLOCKTIME", "MKL_NUM_THREADS", "MKL_CBWR"),
    *("OPENBLAS_NUM_THREADS", "ATEN_CPU_CAPABILITY", "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE"),
    *("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "CUDA_LAUNCH_BLOCKING", "CUDA_MODULE_LOADING", "PYTORCH_ALLOC_CONF"),
    *("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_NO_CUDA_MEMORY_CACHING", "HF_ENDPOINT", "HF_HUB_OFFLINE"),
    *("TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_IMPLICIT_TOKEN", "HF_HUB_DOWNLOAD_TIMEOUT"),
    *("HF_HUB_ETAG_TIMEOUT", *FOLDERS),
)
NOTED = (
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
)
PASSED_ON = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_PRELOAD"),
    *("SLURM_CONF", "PBS_CONF_FILE", "PBS_EXEC", "PBS_SERVER", "FLUX_URI"),  # how a cluster's commands find it
    *KEPT,
    *NOTED,
)
PASSED_ON_PREFIXES = (
    *("LC_", "XDG_", "CUDA_", "NVIDIA_", "NCCL_", "LD_LIBRARY_", "OMP_", "GOMP_", "KMP_", "MKL_", "TORCH", "PYTORCH_"),
    *("HF_", "HUGGINGFACE_", "DATADREAM_", "PYTHON", "SSL_", "REQUESTS_CA", "COVERAGE_", "LSF_"),
)
# Settings that may change a result, for environment.json
RECORDED = (
    *(*KEPT, "DATADREAM_HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONHASHSEED"),
    *("SLURM_JOB_ID", "SLURM_JOB_NODELIST", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID"),
)
SEARCH_PATHS = ("PYTHONPATH", "LD_LIBRARY_PATH")  # a runner works in another folder than the one it was started from
VALUE_MAX = 4096
Asked = tuple[tuple[str, str], ...] | None
SECRET_LENGTH = 16


def passed_on() -> dict[str, str]:
    """What a runner gets of this process's variables. Relative folders are made absolute, from the current one."""
    found = {
        name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)
    }
    forget_unset(found)
    for name in SEARCH_PATHS:
        if name in found:
            found[name] = os.pathsep.join(_absolute(part or ".") for part in found[name].split(os.pathsep))
    return {name: _absolute(value) if name in (*FOLDERS, "TMPDIR") else value for name, value in found.items()}


def kept() -> dict[str, str]:
    """The settings of this process that stand with a request, by name; not what every worker has. Never a secret."""
    found = passed_on()
    names = [name for name in KEPT if name in found and found[name] != ENVIRONMENT.get(name)]
    return {name: found[name] for name in names if _can_be_written(found[name])}


def noted() -> tuple[str, ...]:
    """The names of what this process has and a request doesn't keep the value of."""
    found = passed_on()
    names = [name for name in NOTED if found.get(name)]
    return (*names, *(name for name in KEPT if name in found and not _can_be_written(found[name])))


def asked_with(environment: Mapping[str, str] | None) -> dict[str, str]:
    """A request's settings; those of this process for a request of a version that kept none. Nothing but KEPT ones."""
    if environment is None:
        return kept()
    return {name: value for name, value in environment.items() if name in KEPT and "\0" not in value}


def of_request(environment: Mapping[str, str] | None) -> Asked:
    """A request's settings, as jobs are told apart by; None for a request that kept none."""
    return None if environment is None else tuple(sorted(asked_with(environment).items()))


def of_worker(
    base: Mapping[str, str], environment: Mapping[str, str] | None, noted: tuple[str, ...] = ()
) -> dict[str, str]:
    """The variables of a worker for jobs asked for with `environment`; `base` are its runner's.

    Of what the request only notes, it has the runner's.
    """
    if environment is None:
        return dict(base)
    others = {name: value for name, value in base.items() if name not in KEPT or name in noted}
    return {**ENVIRONMENT, **others, **asked_with(environment)}


def adopt(environment: Mapping[str, str] | None, noted: tuple[str, ...] = ()) -> None:
    """Make a request's settings this process's, before torch is imported. Devices stay: a cluster gives them."""
    if environment is None:
        return
    asked = asked_with(environment)
    for name in KEPT:
        if name in DEVICES or name in noted:
            continue
        if name in asked:
            os.environ[name] = asked[name]
        else:
            os.environ.pop(name, None)


def recorded() -> dict[str, object]:
    """What environment.json says of this process's variables: settings with their values, secrets by name."""
    found = {name: masked(os.environ[name]) for name in RECORDED if name in os.environ}
    return {"variables": found, "noted": [name for name in NOTED if os.environ.get(name)]}


def in_words(environment: Mapping[str, str], noted: Sequence[str] = ()) -> str:
    """`NAME=value NAME=***`; an empty value is shown as ''."""
    settings = [f"{name}={value or repr('')}" for name, value in sorted(environment.items())]
    return " ".join([*settings, *(f"{name}=***" for name in noted)])


def _can_be_written(value: str) -> bool:
    """Whether it may stand in a file: it opens nothing, and is text of a sensible length."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    if len(value) > VALUE_MAX or USERINFO.search(value) or ("://" in value and "?" in value):
        return False
    secrets = [text for name, text in os.environ.items() if SECRET.search(name) and len(text) >= SECRET_LENGTH]
    return not any(secret in value for secret in secrets)


def _absolute(folder: str) -> str:
    """A folder as it is here: a runner has another current one, and may have another HOME."""
    folder = os.path.expandvars(folder)
    try:
        return str(paths.expand(folder).absolute()) if folder and "$" not in folder else folder
    except UserError:
        return folder
