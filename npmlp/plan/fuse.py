"""Fusion: operations in a row, on the tape, become one that does them in a single pass.

A pattern is a chain of operations of which each is the only reader of the one before. Its forward
entries become one entry, and so do their backwards. What they compute stays the same to the bit
(tests/plan/test_fuse.py); what is saved are passes over the memory, and calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from npmlp.ops import activation, conv, dropout, fused, linear, norm, pool
from npmlp.ops.spec import Attrs, OpSpec
from npmlp.plan.tape import Backward, Entry, Forward, owner
from npmlp.run_op import kept_inputs, prepare


@dataclass(frozen=True)
class Pattern:
    """A chain of operations, and the one that takes their place.

    Each function takes the chain's forward entries: `inputs` and `attrs` are the fused operation's,
    `outs` its arrays as its layout has them, None for one that is new.
    """

    chain: tuple[OpSpec, ...]
    fused: OpSpec
    inputs: Callable[[Sequence[Forward]], tuple[Any, ...]]
    attrs: Callable[[Sequence[Forward]], Attrs]
    outs: Callable[[Sequence[Forward]], tuple[Any, ...]]
    when: Callable[[Sequence[Forward]], bool] = lambda chain: True


def _norm_gelu(*more: OpSpec) -> Pattern:
    """BatchNorm and GELU, with a dropout after them or without."""
    return Pattern(
        (norm.BATCH_NORM, activation.GELU, *more),
        fused.BATCH_NORM_GELU,
        inputs=lambda chain: (*chain[0].inputs, chain[2].inputs[1] if more else None),
        attrs=lambda chain: {
            "eps": chain[0].attrs["eps"],
            "scale": chain[2].attrs["scale"] if more else 1.0,
        },
        outs=lambda chain: (chain[-1].outs[0], *chain[0].outs[1:]),
        when=lambda chain: chain[0].inputs[0].ndim == 2 and chain[1].attrs["approximate"] == "none",
    )


PATTERNS = (
    _norm_gelu(dropout.DROPOUT),
    _norm_gelu(),
    Pattern(
        (linear.LINEAR, activation.RELU),
        fused.LINEAR_RELU,
        inputs=lambda chain: chain[0].inputs,
        attrs=lambda chain: {},
        outs=lambda chain: chain[-1].outs,
    ),
    Pattern(
        (linear.LINEAR, activation.GELU),
        fused.LINEAR_GELU,
        inputs=lambda chain: chain[0].inputs,
        attrs=lambda chain: {},
        outs=lambda chain: (chain[1].outs[0], chain[0].outs[0]),
        when=lambda chain: chain[1].attrs["approximate"] == "none",
    ),
    Pattern(
        (conv.CONV2D, activation.RELU, pool.MAX_POOL2D),
        fused.CONV_RELU_POOL,
        inputs=lambda chain: chain[0].inputs,
        attrs=lambda chain: chain[0].attrs,
        outs=lambda chain: chain[-1].outs,
        when=lambda chain: chain[-1].attrs == fused.HALVES,
    ),
)


def fuse(entries: Sequence[Entry], seen: set[int]) -> list[Entry]:
    """The entries with every pattern replaced, wherever it is found.

    Parameters: `seen`, ids of the memory that somebody sees after the step: it must be written.
    """
    result = list(entries)
    for pattern in PATTERNS:
        for first in list(result):
            chain = _chain(first, pattern.chain, result, seen)
            if chain is not None and pattern.when(chain):
                result = _replaced(result, chain, pattern)
    return result


def _chain(
    first: Entry, specs: Sequence[OpSpec], entries: Sequence[Entry], seen: set[int]
) -> list[Forward] | None:
    """Forward entries of these operations, each the only one to read the one before; or None."""
    if not isinstance(first, Forward) or first.spec is not specs[0] or first.kernel is None:
        return None
    chain = [first]
    for spec in specs[1:]:
        between = chain[-1].outs[0]
        if id(owner(between)) in seen:
            return None
        readers = [e for e in entries if any(owner(a) is owner(between) for a in e.reads())]
        nexts = [e for e in readers if isinstance(e, Forward)]
        if len(nexts) != 1 or nexts[0].spec is not spec or nexts[0].inputs[0] is not between:
            return None
        if nexts[0].kernel is None:
            return None
        # beside it only backwards of the chain may read it, which the fused one replaces
        others = [e for e in readers if e is not nexts[0]]
        if not all(isinstance(e, Backward) and e.forward in (*chain, nexts[0]) for e in others):
            return None
        chain.append(nexts[0])
    return chain


def _replaced(entries: list[Entry], chain: list[Forward], pattern: Pattern) -> list[Entry]:
    backwards = [e for e in entries if isinstance(e, Backward) and e.forward in chain]
    if len(backwards) not in (0, len(chain)):  # walked twice, or in part
        return entries
    inputs, attrs = pattern.inputs(chain), pattern.attrs(chain)
    needs = (*chain[0].needs, *(False,) * (len(inputs) - len(chain[0].needs)))
    layout, kernel = prepare(pattern.fused, inputs, attrs, needs)
    if kernel is None:
        return entries
    outs = tuple(
        np.empty(*spec) if out is None else out
        for out, spec in zip(pattern.outs(chain), layout.outs, strict=True)
    )
    name = pattern.fused.name
    forward = Forward(name, pattern.fused, layout, kernel, attrs, inputs, outs, needs)
    # in place of the last of the chain; what came before it and reads what the chain made, after it
    start, end = entries.index(chain[0]), entries.index(chain[-1])
    made = {id(owner(a)) for entry in chain for a in entry.writes()}
    between = [e for e in entries[start:end] if e not in chain]
    moved = [e for e in between if any(id(owner(a)) in made for a in e.reads())]
    result = [
        *entries[:start], *(e for e in between if e not in moved), forward, *moved,
        *entries[end + 1 :],
    ]  # fmt: skip
    if backwards:
        last, first = backwards[0], backwards[-1]
        extra = (None,) * (len(inputs) - len(first.grads))
        kept_outs = tuple(a if i in layout.keep_outs else None for i, a in enumerate(outs))
        backward = Backward(
            f"{name} backward", pattern.fused, layout, kernel, attrs, last.dout,
            kept_inputs(layout, inputs), kept_outs, needs, (*first.shapes, *extra),
            (*first.grads, *extra), forward,
        )  # fmt: skip
        at = result.index(first)
        result[at] = backward
        result = [e for e in result if e not in backwards]
    return result
