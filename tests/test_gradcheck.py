"""Gradient checking passes what is right, and says where what is wrong is wrong."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from beside_torch import numbers

import npmlp
from npmlp import commands, gradcheck, nn
from npmlp.autograd import GradcheckError
from npmlp.autograd import gradcheck as check
from npmlp.errors import DTypeError, GraphError
from npmlp.numeric_gradient import MOST_ENTRIES, differences
from reference_torch import gradcheck as torch_gradcheck


def leaf(*shape: int, seed: int = 0) -> npmlp.Tensor:
    return npmlp.from_numpy(numbers(shape, seed=seed)).requires_grad_()


# --------------------------------------------------------------------- npmlp.autograd.gradcheck


def test_differences_are_the_derivatives_of_a_polynomial() -> None:
    x = np.array([[1.0, 2.0], [3.0, -1.0]])
    before = x.copy()
    slopes = differences(lambda: np.array([(x**3).sum(), x[0, 0] * x[1, 1]]), x, range(4), 6e-6)
    # h²/6 f''' = 4e-11, and the rounding of f ≈ 35 over h: 35 · 1e-16 / 6e-6 = 6e-10
    expected = np.stack([3 * x.ravel() ** 2, [-1, 0, 0, 1]], axis=1)
    np.testing.assert_allclose(slopes, expected, atol=1e-9)
    assert np.array_equal(x, before)
    assert differences(lambda: np.zeros(3), np.empty((0, 2)), [], 1e-6).shape == (0, 3)


@pytest.mark.parametrize("fast_mode", [False, True])
def test_right_gradients_pass(fast_mode: bool, kernels: str) -> None:
    x, w = leaf(3, 4), leaf(4, 2, seed=1)
    for function in (
        lambda x, w: npmlp.softmax(x @ w, 1),
        lambda x, w: (x.exp().sum(0), (w * w).mean()),
        lambda x, w: x.max(1).values,
        lambda x, w: [x[1:], (x > 0), w.T @ x.T],
    ):
        assert check(function, (x, w), fast_mode=fast_mode)
    assert check(npmlp.tanh, x)
    assert not check(lambda x: x.detach() * x, x, raise_exception=False, fast_mode=fast_mode)
    assert x.grad is None


def test_a_wrong_entry_is_named_with_both_values() -> None:
    factor = npmlp.ones(2, 3, dtype=npmlp.float64)

    def wrong_at_one_entry(x: Any, y: Any) -> Any:
        hidden = x * y
        off = (y[1, 2] - y[1, 2].detach()) * 0.01  # adds 0.01 to the gradient, 0 to the value
        return (hidden * factor).sum() + off

    x, y = leaf(2, 3), leaf(2, 3, seed=1)
    exact = x[1, 2].item()
    with pytest.raises(GradcheckError) as caught:
        # the detached value is a constant to backward, and moves with y in the differences
        check(wrong_at_one_entry, (x, y))
    message = str(caught.value)
    assert message.startswith("gradcheck: input 1: 1 of 6 entries checked are off")
    assert "entry [1, 2] of shape (2, 3): the derivative of output 0[]" in message
    values = re.search(r"is (\S+) by backward and (\S+) by finite", message)
    assert values is not None
    np.testing.assert_allclose(float(values[1]), exact + 0.01, rtol=1e-7)
    np.testing.assert_allclose(float(values[2]), exact, rtol=1e-7)
    assert not check(wrong_at_one_entry, (x, y), raise_exception=False)
    assert check(wrong_at_one_entry, (x, y), atol=0.02)


def test_what_a_cotangent_of_ones_hides_is_found() -> None:
    """A softmax sums to 1: the gradient of its sum, this wrong one too, is 0."""

    def scaled_softmax(x: Any) -> Any:
        y = npmlp.softmax(x, 1)
        return y + 0.01 * (y - y.detach())

    x = leaf(2, 5)
    assert check(lambda x: scaled_softmax(x).sum(), x)
    for fast_mode in (False, True):
        assert not check(scaled_softmax, x, raise_exception=False, fast_mode=fast_mode)


def test_one_percent_is_found_in_a_function_of_many_outputs() -> None:
    def scaled(x: Any) -> Any:
        return x * 2 + (x - x.detach()) * 0.02

    assert not check(scaled, leaf(20, 10), raise_exception=False)
    with pytest.raises(GradcheckError, match="the outputs times a random cotangent is"):
        check(scaled, leaf(20, 10))


def test_a_kink_beside_the_point_is_no_error_and_one_at_the_point_is() -> None:
    beside = npmlp.tensor([3e-7, -2e-7, 1.0], dtype=npmlp.float64, requires_grad=True)
    assert check(npmlp.relu, beside)
    with pytest.raises(GradcheckError, match=r"entry \[0\]"):
        check(npmlp.relu, npmlp.zeros(1, dtype=npmlp.float64, requires_grad=True))


def test_what_is_not_a_number_is_off() -> None:
    x = npmlp.tensor([0.0, 1.0], dtype=npmlp.float64, requires_grad=True)
    with pytest.raises(GradcheckError, match=r"1 of 2 entries.*entry \[0\]"):
        check(npmlp.sqrt, x)


def test_inputs_and_functions_that_cannot_be_checked_are_refused() -> None:
    x = leaf(2, 3)
    with pytest.raises(DTypeError, match=r"input 1 has dtype torch.float32.*\.double\(\)"):
        check(npmlp.add, (x, npmlp.ones(3, requires_grad=True)))
    with pytest.raises(GraphError, match="no input requires a gradient"):
        check(npmlp.exp, npmlp.ones(2, dtype=npmlp.float64))
    with pytest.raises(GradcheckError, match=r"no output requires a gradient.*no_grad"):
        check(lambda x: x.detach(), x)
    with pytest.raises(DTypeError, match=r"an output has dtype torch.float32"):
        check(lambda x: x.float(), x)
    with pytest.raises(GradcheckError, match=r"different outputs.*\.eval\(\)"):
        check(lambda x: x * npmlp.rand(3).double(), x)
    assert check(lambda x: x + 1e-12 * npmlp.rand(1).double(), x, nondet_tol=1e-11)
    with pytest.raises(GraphError, match=r"expanded or read-only.*clone\(\)"):
        check(npmlp.exp, x[:, :1].expand(2, 4))


def test_the_inputs_are_left_as_they_were() -> None:
    x = leaf(3, 4)
    before = x.detach().clone()
    check(npmlp.exp, x)

    def fails_elsewhere(x: Any) -> Any:
        assert npmlp.equal(x.detach(), before), "not here"
        return x * 2

    with pytest.raises(AssertionError, match="not here"):
        check(fails_elsewhere, x)
    assert npmlp.equal(x.detach(), before)
    assert check(lambda x: x * 2, x.T)  # and need not be contiguous


def test_a_large_input_is_checked_at_entries_drawn_at_random() -> None:
    x = leaf(MOST_ENTRIES + 500)
    assert check(lambda x: (x * x).sum(), x)
    (found,) = npmlp.numeric_gradient.check_gradients(lambda: (x * x).sum(), {"x": x})
    assert found.checked == MOST_ENTRIES
    assert found.ok


def test_agrees_with_pytorchs_gradcheck() -> None:
    """The same functions, one right and one wrong, given to both."""
    for wrong in (0.0, 1.0):
        verdicts = []
        for lib in (npmlp, torch):
            x = lib.from_numpy(numbers((3, 4))).requires_grad_()
            verdicts.append(
                lib.autograd.gradcheck(
                    lambda x, wrong=wrong: x.exp() + wrong * x.detach() * 0.01,
                    (x,),
                    raise_exception=False,
                )
            )
        assert verdicts == [not wrong, not wrong]


# --------------------------------------------------------------------------------- the commands

LAYERS = '''
import npmlp, torch
from npmlp import nn

class Scale(nn.Module):
    """x · weight + bias, or x · weight · 1.01 in backward alone."""
    def __init__(self, n, wrong=0.0):
        super().__init__()
        self.weight = nn.Parameter(npmlp.randn(n))
        self.bias = nn.Parameter(npmlp.zeros(n))
        self.drop = nn.Dropout(0.3)
        self.norm = nn.BatchNorm1d(n)
        self.wrong = wrong
    def forward(self, x):
        y = self.drop(self.norm(x * self.weight) + self.bias)
        return y + self.wrong * (self.weight - self.weight.detach())

class Torch(torch.nn.Module):
    def __init__(self, n, wrong=0.0):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(n))
        self.bias = torch.nn.Parameter(torch.zeros(n))
        self.drop = torch.nn.Dropout(0.3)
        self.norm = torch.nn.BatchNorm1d(n)
    def forward(self, x):
        return self.drop(self.norm(x * self.weight) + self.bias)

class Other(Torch):
    def __init__(self, n, wrong=0.0):
        super().__init__(n)
        self.bias = torch.nn.Parameter(torch.zeros(1, n))

class Broken(nn.Module):
    def forward(self, x):
        return {}["missing"]

def product(x, y): return x * y
def nothing(x): return x * 0
ready = Scale(3)
number = 3
'''


@pytest.fixture
def layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module with LAYERS, in the current folder."""
    (tmp_path / "some_layers.py").write_text(LAYERS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "some_layers", raising=False)
    return "some_layers"


def command(main: Callable[..., int], capsys: Any, *argv: str) -> tuple[int, str, str]:
    try:
        code = commands.run(main, argv)
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_the_command_prints_a_row_per_input_and_parameter(layers: str, capsys: Any) -> None:
    code, out, _ = command(
        gradcheck.main, capsys, f"{layers}:Scale", "--input", "5,3", "--arg", "3"
    )
    assert code == 0
    rows = [line.split() for line in out.splitlines()]
    assert rows[0][:3] == ["shape", "checked", "off"]
    assert [r[0] for r in rows[1:6]] == ["input", "weight", "bias", "norm.weight", "norm.bias"]
    assert [r[-1] for r in rows[1:6]] == ["ok"] * 5
    assert out.endswith(f"{layers}:Scale: all agree\n")


def test_the_command_names_what_is_wrong(layers: str, capsys: Any) -> None:
    argv = (f"{layers}:Scale", "--input", "5,3", "--args", "3, wrong=0.01")
    code, out, _ = command(gradcheck.main, capsys, *argv)
    assert code == 1
    verdicts = {line.split()[0]: line.split()[-1] for line in out.splitlines() if line.split()}
    assert verdicts["weight"] == "FAIL"
    assert verdicts["bias"] == "ok"
    assert re.search(r"weight: 3 of 3 entries checked are off, .* by backward and ", out)
    assert out.endswith("1 of 5 gradients are wrong\n")


def test_the_command_takes_functions_and_modules_as_they_are(layers: str, capsys: Any) -> None:
    argv = (f"{layers}:product", "--input", "5,3", "--input", "3")
    code, out, _ = command(gradcheck.main, capsys, *argv)
    assert code == 0
    assert "input 1  (3,)" in out
    code, out, _ = command(
        gradcheck.main, capsys, f"{layers}:ready", "--input", "4,3", "--eval", "--seed", "3"
    )
    assert code == 0
    code, out, _ = command(gradcheck.main, capsys, f"{layers}:nothing", "--input", "4")
    assert "every gradient is zero here, which proves nothing" in out


BAD = [
    (["{}:Scale", "--input", "2,3"], r"Scale raised TypeError: .*missing 1 required.*--debug"),
    (["{}:Scale", "--args", "3"], "--input is missing.*--input 8,784"),
    (["{}:Scale", "--args", "3", "--input", "2,x"], "'2,x' is not a shape"),
    (["{}:Scale", "--args", "3", "--input", "0,3"], "'0,3' is not a shape"),
    (["{}:Scale", "--args", "open('x')", "--input", "3"], "cannot read .*expected numbers"),
    (["{}:Scale", "--args", "3", "--input", "2,4"], r"mul: shapes \(2, 4\) and \(3,\)"),
    (["{}:Scales", "--input", "3"], "has no 'Scales'; did you mean Scale"),
    (["{}x:Scale", "--input", "3"], "there is no module 'some_layersx' here in"),
    (["{}", "--input", "3"], "names no layer; write it as my_module:MyLayer"),
    (["{}:number", "--input", "3"], "has type int, expected a Module or a function"),
    (["{}:product", "--args", "3", "--input", "3"], "is not a class, and takes no arguments"),
    (["{}:Broken", "--input", "3"], "Broken raised KeyError: 'missing'; --debug shows where"),
]


@pytest.mark.parametrize(("argv", "message"), BAD, ids=lambda value: str(value))
def test_bad_input_is_a_sentence_and_exit_code_2(
    argv: list[str], message: str, layers: str, capsys: Any
) -> None:
    code, out, err = command(gradcheck.main, capsys, *[a.format(layers) for a in argv])
    assert code == 2
    assert out == ""
    assert re.search(message, err), err
    assert "Traceback" not in err
    assert err.count("\n") == 1


def test_debug_shows_the_stack(layers: str) -> None:
    with pytest.raises(KeyError):
        commands.run(gradcheck.main, [f"{layers}:Broken", "--input", "3", "--debug"])


def test_a_layer_agrees_with_its_pytorch_twin(layers: str, capsys: Any) -> None:
    argv = (f"{layers}:Scale", "--twin", f"{layers}:Torch", "--input", "5,3", "--arg", "3")
    code, out, _ = command(torch_gradcheck.main, capsys, *argv)
    assert code == 0, out
    for name in ("output 0", "d input 0", "d weight", "d norm.bias", "buffer norm.running_var"):
        assert re.search(rf"^{name} .* ok$", out, re.MULTILINE), out
    assert "all agree to 1e-10" in out
    code, out, _ = command(torch_gradcheck.main, capsys, *argv, "--eval")
    assert code == 0


def test_a_layer_that_differs_from_its_twin_is_told(layers: str, capsys: Any) -> None:
    argv = ("--input", "5,3", "--args", "3, wrong=0.01")
    code, out, _ = command(
        torch_gradcheck.main, capsys, f"{layers}:Scale", "--twin", f"{layers}:Torch", *argv
    )
    assert code == 1
    assert re.search(r"^d weight .* FAIL$", out, re.MULTILINE)
    assert out.endswith("Torch: d weight differ\n")
    code, _, err = command(
        torch_gradcheck.main, capsys, f"{layers}:Scale", "--twin", f"{layers}:Other", *argv
    )
    assert code == 2
    assert "bias has shape (3,) in npmlp's layer and (1, 3) in the twin" in err
    code, _, err = command(
        torch_gradcheck.main, capsys, f"{layers}:Scale", "--twin", f"{layers}:product", *argv
    )
    assert code == 2
    assert "takes no arguments" in err


def test_a_module_that_was_given_twice_agrees_with_itself() -> None:
    layer, twin = nn.Linear(3, 2).double(), torch.nn.Linear(3, 2).double()
    found = torch_gradcheck.compare(layer, twin, [numbers((4, 3))])
    assert [d.name for d in found] == ["output 0", "d input 0", "d weight", "d bias"]
    assert all(d.ok for d in found)
    assert max(d.relative for d in found) < 1e-15
