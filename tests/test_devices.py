"""Scripts that ask for a GPU get from npmlp what they get from a PyTorch built for the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import npmlp
from npmlp.errors import OutsideSubsetError

SCRIPT = """
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if torch.accelerator.is_available():
    device = torch.accelerator.current_accelerator()
elif torch.backends.mps.is_available():
    device = torch.device("mps")
torch.manual_seed(3)
torch.cuda.manual_seed(3)
torch.cuda.manual_seed_all(3)
torch.backends.cudnn.deterministic = True
torch.backends.cudnn.benchmark = False
x = torch.rand(4, device=device)
result = str(device), x.to(device).tolist(), torch.backends.cudnn.deterministic
"""

QUESTIONS = """
use_deterministic_algorithms(False)
set_float32_matmul_precision("highest")
ones(1).is_cuda
cuda.is_available()
cuda.is_initialized()
cuda.is_bf16_supported()
cuda.device_count()
cuda.manual_seed(1)
cuda.manual_seed_all(1)
cuda.empty_cache()
cuda.memory_allocated()
cuda.max_memory_allocated()
accelerator.is_available()
accelerator.device_count()
accelerator.current_accelerator()
accelerator.current_accelerator(check_available=True)
backends.cudnn.is_available()
backends.cudnn.version()
backends.cudnn.enabled
backends.cudnn.benchmark
backends.cudnn.deterministic
backends.cudnn.allow_tf32
backends.mps.is_available()
backends.mps.is_built()
"""

needs_cpu_build = pytest.mark.skipif(
    torch.version.cuda is not None or torch.accelerator.is_available(),
    reason="this PyTorch is built for an accelerator",
)


@pytest.fixture(autouse=True)
def switches_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for m in (npmlp, torch):
        for name in ("deterministic", "benchmark"):
            switches = m.backends.cudnn
            monkeypatch.setattr(switches, name, getattr(switches, name))


@needs_cpu_build
def test_a_script_that_picks_its_device_runs_with_both() -> None:
    results = []
    for m in (npmlp, torch):
        scope: dict[str, Any] = {"torch": m}
        exec(SCRIPT, scope)
        results.append(scope["result"])
    assert results[0] == results[1]


@needs_cpu_build
@pytest.mark.parametrize("question", QUESTIONS.split("\n")[1:-1])
def test_an_answer_is_that_of_pytorch_without_a_gpu(question: str) -> None:
    ours, theirs = (eval(f"m.{question}", {"m": m}) for m in (npmlp, torch))
    assert ours == theirs and type(ours) is type(theirs)


@needs_cpu_build
@pytest.mark.parametrize(
    "call",
    [
        "cuda.current_device()",
        "cuda.get_device_name()",
        "cuda.synchronize()",
        "cuda.set_device(0)",
        "accelerator.synchronize()",
        "accelerator.current_device_index()",
    ],
)
def test_what_needs_a_gpu_is_refused_by_both(call: str) -> None:
    with pytest.raises((AssertionError, AttributeError, RuntimeError)):
        eval(f"m.{call}", {"m": torch})
    with pytest.raises(OutsideSubsetError, match="the CPU"):
        eval(f"m.{call}", {"m": npmlp})


def test_a_backend_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(OutsideSubsetError, match=r"npmlp\.backends\.mkldnn"):
        _ = npmlp.backends.mkldnn


@pytest.mark.parametrize("m", [npmlp, torch], ids=["npmlp", "torch"])
def test_a_seed_that_is_no_number_is_refused(m: Any) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        m.cuda.manual_seed("three")
