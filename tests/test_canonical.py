"""Equal values give equal bytes; files are whole or as they were."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load

from datadream import durable
from datadream.canonical import canonical_json, digest
from datadream.errors import UserError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)


@given(VALUES)
def test_canonical_json_is_json_and_stable(value: object) -> None:
    try:
        data = canonical_json(value)
    except UnicodeEncodeError:  # a lone surrogate has no UTF-8
        return
    assert json.loads(data) == value
    assert canonical_json(json.loads(data)) == data


@given(st.dictionaries(st.text(alphabet="abcdef"), st.integers(), min_size=2))
def test_order_of_keys_changes_nothing(value: dict[str, int]) -> None:
    assert digest(dict(reversed(value.items()))) == digest(value)


def test_digest_is_the_one_worked_out_by_hand() -> None:
    # printf '{"a":1,"b":[true,null,"é"]}' | sha256sum
    assert canonical_json({"b": [True, None, "é"], "a": 1}) == '{"a":1,"b":[true,null,"é"]}'.encode()


@pytest.mark.parametrize("value", [float("nan"), {1: 2}, (1, 2), Path("x")])
def test_what_json_has_no_word_for_is_refused(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        canonical_json(value)


def test_safetensors_bytes_are_the_same_in_every_process() -> None:
    code = (
        "import hashlib, torch; from datadream.durable import safetensors_bytes as s;"
        "t = {n: torch.arange(i + 1.) for i, n in enumerate('cab')};"
        "print(hashlib.sha256(s(t, {k: k for k in 'zyxwvu'})).hexdigest())"
    )
    found = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                       env={**os.environ, "PYTHONHASHSEED": str(seed)}).stdout
        for seed in range(3)
    }  # fmt: skip
    assert len(found) == 1
    tensors = {"b": torch.ones(2, 3), "a": torch.zeros(1, dtype=torch.int64)}
    again = load(durable.safetensors_bytes(tensors, {"k": "v", "a": "b"}))
    assert all(torch.equal(tensors[name], again[name]) for name in tensors)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    durable.write_bytes(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(UserError, match="no space left"):
            durable.write_bytes(path, b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_torn_line_harms_no_later_record(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"n":1}\n{"n":')
    events = durable.Appender(path)
    events.append({"n": 2})
    events.close()
    assert durable.read_jsonl(path) == ([{"n": 1}, {"n": 2}], 1)
