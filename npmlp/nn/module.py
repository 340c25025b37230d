"""Module: a layer, or a network of layers, with the parameters that it owns.

Assigning Parameters and other Modules to its attributes, and writing `forward`, is all that it
takes to make one. What it consists of is kept in npmlp/nn/tree.py, how its state is saved and
loaded in npmlp/nn/state.py.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Self

from npmlp import dtypes
from npmlp.autograd import no_grad
from npmlp.errors import DTypeError, NpmlpError
from npmlp.nn import state
from npmlp.nn.hooks import Hook, Hooks, RemovableHandle, call_with_hooks
from npmlp.nn.tree import Tree
from npmlp.recording import now, set_grad
from npmlp.tensor import Tensor
from npmlp.types import device


def _no_forward(self: Module, *input: Any) -> None:
    raise NotImplementedError(
        f'Module [{type(self).__name__}] is missing the required "forward" function'
    )


class Module(Tree):
    """The base of all layers: subclass it, assign layers in `__init__`, compute in `forward`.

    An error inside of a network names the layer: `fc1 (Linear(784, 100)): input of shape …`.

    Example
    -------
    >>> from npmlp import nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.fc = nn.Linear(4, 2)
    ...     def forward(self, x):
    ...         return self.fc(x).relu()
    >>> Net()
    Net(
      (fc): Linear(in_features=4, out_features=2, bias=True)
    )
    """

    training: bool
    _forward_hooks: Hooks
    _forward_pre_hooks: Hooks

    forward: Callable[..., Any] = _no_forward

    def __init__(self) -> None:
        super().__init__()
        self.__dict__["training"] = True
        self.__dict__["_forward_hooks"] = OrderedDict()
        self.__dict__["_forward_pre_hooks"] = OrderedDict()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if now.tape is not None:
            now.tape.called(self)
        try:
            if self._forward_hooks or self._forward_pre_hooks:
                return call_with_hooks(self, args, kwargs)
            return self.forward(*args, **kwargs)
        except NpmlpError as error:
            _name_the_layer(error, self)
            raise

    # --------------------------------------------------------------------- change all of them

    def train(self, mode: bool = True) -> Self:
        """Set training mode (Dropout drops, BatchNorm uses the batch) here and below."""
        if not isinstance(mode, bool):
            raise ValueError(f"train: mode is expected to be boolean, got {mode!r}")
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self) -> Self:
        """Set evaluation mode: train(False)."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set requires_grad of all parameters."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or fill them with zeros."""
        for p in self.parameters():
            if p._grad is not None:
                if set_to_none:
                    set_grad(p, None)
                else:
                    p._grad._write(0)

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call `fn` on every module, the children first."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """to(dtype), to(device), to(tensor): floats take the dtype, in place; device is "cpu"."""
        kwargs.pop("non_blocking", None)
        dtype: dtypes.dtype | None = None
        for arg in (*args, *kwargs.values()):
            if isinstance(arg, Tensor):
                dtype = arg.dtype
            elif isinstance(arg, (str, device)):
                device(arg)  # raises for what is not the CPU
            elif arg is not None and not isinstance(arg, bool):
                dtype = dtypes.as_dtype(arg, "Module.to")
        if dtype is not None and not dtype.is_floating_point:
            raise DTypeError(
                f"nn.Module.to only accepts floating point dtypes, but got desired dtype={dtype}"
            )
        return self if dtype is None else self._cast(dtype)

    def _cast(self, dtype: dtypes.dtype) -> Self:
        for module in self.modules():
            for p in module._parameters.values():
                if p is not None and p.is_floating_point():
                    with no_grad():
                        p.data = p.to(dtype)
                        if p._grad is not None:
                            p._grad.data = p._grad.to(dtype)
            for name, b in module._buffers.items():
                if b is not None and b.is_floating_point():
                    module.__dict__[name] = b.to(dtype)
        return self

    def float(self) -> Self:
        """All floats to float32."""
        return self._cast(dtypes.float32)

    def double(self) -> Self:
        """All floats to float64."""
        return self._cast(dtypes.float64)

    def cpu(self) -> Self:
        """Itself: the CPU is where everything is."""
        return self

    # ------------------------------------------------------------------------------- its state

    def state_dict(
        self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Tensor]:
        """{dotted name: Tensor} of the parameters and persistent buffers; memory is shared.

        The names, shapes and dtypes are PyTorch's. `npmlp.save` keeps it.
        """
        destination = OrderedDict() if destination is None else destination
        state.save_own(self, destination, prefix, keep_vars)
        for name, child in self._modules.items():
            if child is not None:
                child.state_dict(
                    destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars
                )
        return destination

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Copy values into the parameters and buffers, in place and in their dtype.

        Parameters: `state_dict`, of Tensors or arrays, npmlp's or PyTorch's; `strict`, raise
        where keys are missing or unexpected; `assign`, take the tensors themselves instead.
        Returns: a pair of lists, (missing_keys, unexpected_keys). Raises: StateDictError, which
        lists each missing and unexpected key and each wrong shape.
        """
        return state.load(self, state_dict, strict, assign)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, report: state.Report
    ) -> None:
        state.load_own(self, state_dict, prefix, report)

    # ----------------------------------------------------------------------------------- hooks

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Call hook(module, args, output) after forward; what it returns replaces the output.

        With `with_kwargs`, hook(module, args, kwargs, output).
        """
        kind = Hook(hook, with_kwargs, always_call)
        return RemovableHandle(self._forward_hooks, kind, prepend)

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call hook(module, args) before forward; what it returns replaces the arguments.

        With `with_kwargs`, hook(module, args, kwargs), which returns a pair of both.
        """
        return RemovableHandle(self._forward_pre_hooks, Hook(hook, with_kwargs), prepend)

    # ------------------------------------------------------------------------------ as a text

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What its repr says about the module itself; override it in your own."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        if len(lines) == 1 and not self._module_names:
            return f"{self._get_name()}({extra})"
        lines += [f"({name}): {indented(repr(child))}" for name, child in self._modules.items()]
        inner = "\n  " + "\n  ".join(lines) + "\n" if lines else ""
        return f"{self._get_name()}({inner})"


def indented(text: str) -> str:
    """All lines but the first moved two columns to the right; blank ones stay empty."""
    first, *rest = text.split("\n")
    return "\n".join([first, *("  " + line if line.strip() else "" for line in rest)])


def _name_the_layer(error: NpmlpError, module: Module) -> None:
    """Put the path of the module in which an error arose in front of its message.

    Each module on the way out knows a longer path, and rewrites what the one before wrote.
    """
    origin, message = error.__dict__.setdefault("_origin", (module, str(error)))
    path = next((name for name, m in module.named_modules() if m is origin), "")
    if not path:
        return
    kind = type(origin).__name__
    own = re.match(rf"({kind}\(.*?\)): ", message)  # a layer's operation has said it: Linear(4, 2)
    if own:
        kind, message = own[1], message[own.end() :]
    error.args = (f"{path} ({kind}): {message}",)
