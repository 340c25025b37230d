"""What all commands share: flags from dataclasses, and errors in one sentence with exit code 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from npmlp.errors import NpmlpError
from npmlp.recipe_fields import flag

T = TypeVar("T")


def parse(form: Callable[..., T], argv: Sequence[str], prog: str, **kwargs: Any) -> T:
    """Fill the dataclass `form` from the command line; tyro writes the help and the errors."""
    import tyro

    return tyro.cli(form, args=list(argv), prog=prog, **kwargs)


def run(main: Callable[[Sequence[str]], int | None], argv: Sequence[str] | None = None) -> int:
    """Run a command and give its exit code: 2, with a sentence, for what the user can put right.

    `--debug` anywhere among the arguments shows the stack instead.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        return main(argv) or 0
    except NpmlpError as error:
        if "--debug" in argv:
            raise
        # a layer's or a module's message may have several lines
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read the output, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13  # as a program that SIGPIPE ends
    except OSError as error:
        if "--debug" in argv:
            raise
        print(f"error: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        return 2


def value_of(argv: Sequence[str], name: str) -> str | None:
    """The value of one flag, found before the others are understood: they depend on it."""
    for i, arg in enumerate(argv):
        if arg == name and i + 1 < len(argv):
            return argv[i + 1]
        if arg.startswith(name + "="):
            return arg.partition("=")[2]
    return None


def given(argv: Sequence[str], field: str) -> bool:
    """Whether a field's flag is on the command line, in one of its spellings."""
    names = {flag(field), flag(field).replace("--", "--no-", 1)}
    names |= {"--" + name[2:].replace("-", "_") for name in names}
    return any(arg.partition("=")[0] in names for arg in argv)
