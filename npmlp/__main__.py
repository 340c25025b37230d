"""The command `npmlp`: its first word names one of the modules that are commands."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence

import npmlp
from npmlp import commands
from npmlp.errors import NpmlpError

VERBS = {
    "train": "train a network on Fashion-MNIST",
    "evaluate": "test a trained network",
    "sweep": "train a recipe with many values, and find the best",
    "report": "show a run's results, or compare several, on a page",
    "predict": "name what is on pictures",
    "gradcheck": "check the gradients of a layer of yours",
}


def dispatch(argv: Sequence[str]) -> int:
    """Run the command that the first word names."""
    argv = list(argv)
    while argv[:1] == ["--debug"]:  # commands.run has seen it
        argv.pop(0)
    if argv[:1] == ["--version"]:
        print(f"npmlp {npmlp.__version__}")
        return 0
    usage = "\n".join(f"  npmlp {verb:10} {text}" for verb, text in VERBS.items())
    if not argv or argv[0] in ("-h", "--help"):
        print(
            "usage: npmlp VERB [OPTIONS]    (npmlp VERB --help says more)\n"
            "       npmlp --version\n\n"
            f"{usage}\n\n--debug, anywhere, shows the whole stack when something goes wrong"
        )
        return 0
    verb, *rest = argv
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(VERBS)}."
        raise NpmlpError(f"there is no command {verb!r}; {hint}")
    result: int = importlib.import_module(f"npmlp.{verb}").main(rest)
    return result


def main() -> int:
    """The console script `npmlp`, and `python -m npmlp`."""
    return commands.run(dispatch)


if __name__ == "__main__":
    sys.exit(main())
