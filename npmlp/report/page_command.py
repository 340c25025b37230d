"""The command `python -m npmlp.report RUN [RUN …]`: what it takes, writes and says."""

from __future__ import annotations

import itertools
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from npmlp import commands
from npmlp.errors import NpmlpError
from npmlp.progress import say
from npmlp.report import report_files, write_files
from npmlp.report.page import render_page
from npmlp.report.page_read import read_results


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Report on a run: pictures, figures and a page. Several runs are compared on one page.

    Of several runs, one that cannot be read is left out: the page and a warning say so, and the
    exit status is 1. Where none can be read, or the only one, nothing is written, and it is 2.
    """

    runs: tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="RUN ...")]]
    """the runs' folders"""
    data: str | None = None
    """a folder with the images; by default each run's are looked for where it found them"""
    out: str | None = None
    """where the page goes, PAGE.html; by default it is report.html in the run's folder, beside the
    pictures, and comparison-TIME.html beside the first of several runs that can be read"""
    debug: bool = False
    """show the whole stack when something goes wrong"""


def command(argv: Sequence[str]) -> int:
    """Report on the runs that a command line names."""
    flags = commands.parse(Flags, argv, "python -m npmlp.report")
    out = None if flags.out is None else Path(flags.out)
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise NpmlpError(f"--out {out}: expected the name of a page, such as {out}.html")
    paths = _folders(flags.runs)
    if len(paths) == 1:
        return _one(paths[0], flags.data, out)
    return _compare(paths, flags.data, out, debug=flags.debug)


def _folders(names: Sequence[str]) -> list[Path]:
    """The runs that a command line names. A shell's runs/* brings earlier pages, too."""
    paths = [Path(name) for name in names]
    pages = [path for path in paths if path.suffix == ".html" and path.is_file()]
    for page in pages:
        say(f"left out       {page}: it is a page, not a run")
    paths = [path for path in paths if path not in pages]
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise NpmlpError(f"{path}: is named twice; name each run once")
        seen.add(path.resolve())
    if not paths:
        raise NpmlpError("which run? name its folder: python -m npmlp.report runs/vanilla-…")
    return paths


def _one(path: Path, data: str | None, out: Path | None) -> int:
    run, results = read_results(path, data)
    if out is not None:
        written = write_files({out: render_page(run, results)})
    else:
        files = report_files(run, results)
        written = write_files({path / name: content for name, content in files.items()})
    *others, page = written
    if run.state != "finished":
        say(f"unfinished     {path} {run.progress()}; the report tells what there is")
    say(f"run            {run.label()}: {run.result()}")
    for note in run.notes:
        say(f"note           {note}")
    for finding in run.findings:
        say(finding.line())
    if others:
        say(f"pictures       {', '.join(other.name for other in others)} in {path}")
    say(f"report         {page}")
    return 0


def _compare(paths: Sequence[Path], data: str | None, out: Path | None, *, debug: bool) -> int:
    """Compare the runs that can be read. Returns 1 where one was left out, else 0."""
    from npmlp.report.compare import compare, plus_minus, render_comparison
    from npmlp.report.compare_groups import groups_of, names_of

    runs, left_out = compare(paths, data)
    if not runs:
        raise left_out[0].error
    out = out or _new_page(runs[0].facts.folder.path)
    write_files({out: render_comparison(runs, out, left_out)})
    facts = [run.facts for run in runs]
    names = names_of(facts)
    width = max(map(len, names))
    for run, name in zip(facts, names, strict=True):
        say(f"{name:{width}}  {run.engine:7}  {run.label()}: {run.result()}")
    for run, name in zip(facts, names, strict=True):
        if run.state != "finished":
            say(f"unfinished     {name} {run.progress()}; the report tells what there is")
        for note in run.notes:
            say(f"note           {name}: {note}")
    for group in groups_of(runs):
        if len(group.runs) > 1:
            mean = plus_minus(group.mean("test_accuracy"), 1, "{:.4f}")
            say(f"mean           {group.label}: test accuracy {mean} over {len(group.runs)} seeds")
    say(f"report         {out}")
    for one in left_out:
        if debug:
            traceback.print_exception(one.error)
        print(f"warning: left out {one.path}: {one.why}", file=sys.stderr)
    return 1 if left_out else 0


def _new_page(first: Path) -> Path:
    """A page beside the first of the runs that is not there yet."""
    beside = first.resolve().parent if first.name in ("", "..") else first.parent
    stem = f"comparison-{time.strftime('%Y%m%d-%H%M%S')}"
    names = (stem if n == 1 else f"{stem}-{n}" for n in itertools.count(1))
    return next(p for name in names if not (p := beside / f"{name}.html").exists())
