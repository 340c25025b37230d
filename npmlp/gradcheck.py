"""Check the gradients of a layer of yours, beside finite differences.

`python -m npmlp.gradcheck my_module:MyLayer --input 8,784`. A thin face of
npmlp/numeric_gradient.py; from Python there is `npmlp.autograd.gradcheck`.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import tyro

from npmlp import commands, random
from npmlp.creation import from_numpy
from npmlp.errors import NpmlpError
from npmlp.numeric_gradient import Check, check_gradients


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Compare a layer's gradients with finite differences, in float64."""

    layer: tyro.conf.Positional[str]
    """module:name of a Module class, a Module, or a function; as my_module:MyLayer"""
    input: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """the shape of an input, as 8,784; once for each input that the layer takes"""
    arg: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """an argument of the class, as 784 or bias=False; once for each"""
    args: str = ""
    """all arguments of the class at once, as "784, 10, bias=False" """
    seed: int = 0
    """seeds the inputs, the initial parameters, and each call, so that dropout drops the same"""
    eval: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """check in evaluation mode"""
    eps: float = 1e-6
    """the step of the differences"""
    atol: float = 1e-5
    """what is allowed at a gradient of 0"""
    rtol: float = 1e-3
    """what is allowed beside it, relative to the gradient"""
    debug: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """show the whole stack when something goes wrong"""


def check_layer(
    layer: Callable[..., Any],
    inputs: Sequence[Any],
    seed: int = 0,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
) -> list[Check]:
    """The gradients of a layer's output for each input and each parameter, beside differences.

    Parameters: `layer`, a Module in float64 or a function; `inputs`, float64 tensors that require
    gradients; `eps`, `atol` and `rtol` as in `npmlp.autograd.gradcheck`. Each call of the layer
    starts from `seed`. Returns: a Check per input and parameter. Raises: GradcheckError where
    nothing can be compared.
    """
    tensors = {f"input {i}": t for i, t in enumerate(inputs)}
    if hasattr(layer, "named_parameters"):
        tensors |= {name: p for name, p in layer.named_parameters() if p.requires_grad}

    def call() -> Any:
        random.manual_seed(seed)
        return layer(*inputs)

    return check_gradients(call, tensors, eps=eps, atol=atol, rtol=rtol)


# ------------------------------------------------------------------------ from the command line


def load(target: str) -> Any:
    """What `my_module:MyLayer` names, imported from the current folder or from anywhere else."""
    module_name, _, name = target.partition(":")
    if not module_name or not name:
        raise NpmlpError(f"{target!r} names no layer; write it as my_module:MyLayer")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise NpmlpError(
            f"there is no module {module_name!r} here in {os.getcwd()}; the name goes without .py"
        ) from error
    if not hasattr(module, name):
        near = difflib.get_close_matches(name, vars(module), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise NpmlpError(f"{module_name} has no {name!r}{hint}")
    return getattr(module, name)


def construct(target: str, text: str) -> Any:
    """A layer that can be called: a class is called with the arguments in `text`."""
    found = load(target)
    if inspect.isclass(found):
        args, kwargs = arguments(text)
        return found(*args, **kwargs)
    if text:
        raise NpmlpError(f"{target} is not a class, and takes no arguments; leave out --args")
    if not callable(found):
        raise NpmlpError(
            f"{target} has type {type(found).__name__}, expected a Module or a function"
        )
    return found


def arguments(text: str) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments from text as in a call; only literals."""
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        assert isinstance(call, ast.Call)
        args = [ast.literal_eval(node) for node in call.args]
        return args, {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError, AssertionError):
        raise NpmlpError(
            f"--args: cannot read {text!r}; expected numbers, strings, tuples and the like, as in "
            '"784, 10, bias=False"'
        ) from None


def shapes(texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Shapes from texts such as 8,784."""
    if not texts:
        raise NpmlpError("--input is missing: the shape of what the layer takes, as --input 8,784")
    found = []
    for text in texts:
        try:
            shape = tuple(int(n) for n in text.strip("()[] ").split(",") if n.strip())
        except ValueError:
            shape = (-1,)
        if any(n < 1 for n in shape):
            raise NpmlpError(f"--input: {text!r} is not a shape; expected sizes such as 8,784")
        found.append(shape)
    return found


def guarded(what: str, call: Callable[[], Any], debug: bool) -> Any:
    """Run what the user wrote; an error in it becomes a sentence, unless `debug`."""
    try:
        return call()
    except NpmlpError:
        raise
    except Exception as error:
        if debug:
            raise
        raise NpmlpError(
            f"{what} raised {type(error).__name__}: {error}; --debug shows where"
        ) from error


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows with their columns one below the other."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) for r in (head, *rows)]
    return "\n".join(line.rstrip() for line in lines)


HEAD = ("", "shape", "checked", "off", "worst entry", "backward", "differences", "apart", "")


def row(check: Check) -> list[str]:
    return [
        check.name, str(check.shape), f"{check.checked:,}", f"{check.wrong:,}",
        f"[{', '.join(map(str, check.entry))}]", f"{check.analytic:.9g}", f"{check.numeric:.9g}",
        f"{check.error:.2g}", "FAIL" if not check.ok else "ok" if check.largest else "all zero",
    ]  # fmt: skip


def main(argv: Sequence[str]) -> int:
    """`python -m npmlp.gradcheck`: exit code 0 if all gradients agree, 1 if not."""
    flags = commands.parse(Flags, argv, "python -m npmlp.gradcheck")
    wanted = shapes(flags.input)
    random.manual_seed(flags.seed)
    text = ", ".join([*flags.arg, *([flags.args] if flags.args else [])])
    layer = guarded(flags.layer, lambda: construct(flags.layer, text), flags.debug)
    if hasattr(layer, "double"):
        layer = layer.double()
    if flags.eval:
        layer.eval()
    rng = np.random.default_rng(flags.seed)
    inputs = [from_numpy(np.array(rng.standard_normal(s))).requires_grad_() for s in wanted]
    checks = guarded(
        flags.layer,
        lambda: check_layer(
            layer, inputs, flags.seed, eps=flags.eps, atol=flags.atol, rtol=flags.rtol
        ),
        flags.debug,
    )
    print(table(HEAD, [row(check) for check in checks]))
    wrong = [check for check in checks if not check.ok]
    for check in wrong:
        print(f"\n{check.sentence()}")
    if all(check.largest == 0 for check in checks):
        print("\nevery gradient is zero here, which proves nothing; try another --seed")
    verdict = f"{len(wrong)} of {len(checks)} gradients are wrong" if wrong else "all agree"
    print(f"\n{flags.layer}: {verdict}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(commands.run(main))
