"""Write docs/parity.md from what parity.py measured: every figure in it comes from those files."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import jinja2
from parity import DTYPES, RESULTS

from npmlp.recipes import RECIPES

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "parity.md"


def read(name: str) -> dict[str, Any]:
    """The content of a result file."""
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return content


def of(equal: int, all_: int) -> str:
    """How many of how many, in words."""
    return f"{equal:,} of {all_:,}" if all_ else "–"


def stream_rows(results: list[dict[str, Any]]) -> list[dict[str, str]]:
    """A row a recipe, all seeds together."""
    rows = []
    for name in RECIPES:
        sums: dict[str, int] = defaultdict(int)
        mine = [row for row in results if row["recipe"] == name]
        for row in mine:
            for field, value in row.items():
                if isinstance(value, int):
                    sums[field] += value
        rows.append(
            {
                "recipe": name,
                "weights": of(sums["weights"], len(mine)),
                "batches": of(sums["batches_equal"], sums["batches"]),
                "masks": of(sums["masks_equal"], sums["masks"]),
                "one_by_one": of(sums["one_by_one_equal"], sums["one_by_one"]),
            }
        )
    return rows


def lockstep_row(name: str, dtype: str) -> dict[str, Any]:
    """A recipe in one precision."""
    found = read(f"{name}-{dtype}")
    largest = {
        kind: f"{worst['ratio']:.2g} ({worst['ulps']:.2g})"
        for kind, worst in found["largest"].items()
    }
    drawn = found["batches_equal"] == found["steps"] and found["masks_equal"] == found["masks"]
    excess = found["first_excess"]
    return largest | {
        "recipe": name,
        "dtype": dtype,
        "steps": found["steps"],
        "drawn": "equal" if drawn else "DIFFERENT",
        "verdict": "rounding alone" if found["agrees"] else f"{excess['kind']} {excess['name']}",
    }


def render() -> str:
    """The page's text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    streams, faults = read("streams"), read("faults")
    results = streams["results"]
    seeds = list(dict.fromkeys(row["seed"] for row in results))
    files = {f"{name}-{dtype}": read(f"{name}-{dtype}") for name in RECIPES for dtype in DTYPES}

    def drift(name: str) -> str:
        return f"{files[name]['loss_apart']['npmlp'][0]:.1e}"

    zero = {
        name.rpartition("-")[0]: ", ".join(found["gradients_zero_by_construction"])
        for name, found in files.items()
        if found["gradients_zero_by_construction"] and name.endswith("float32")
    }
    turned = [
        f"{found['decisions_turned_by_rounding']['steps']} of {found['steps']} steps of "
        f"{name.replace('-float', ' in float')}"
        for name, found in files.items()
        if found["decisions_turned_by_rounding"]["steps"]
    ]
    machine = faults["machine"]
    return environment.get_template("parity.md.j2").render(
        machine=f"{machine['processor']}, {machine['cores']} cores",
        streams=streams,
        epochs=results[0]["epochs"],
        seeds=", ".join(map(str, seeds)),
        stream_rows=stream_rows(results),
        lockstep_rows=[lockstep_row(name, dtype) for name in RECIPES for dtype in DTYPES],
        zero="; ".join(f"in {name} {names}" for name, names in zero.items()),
        turned=", ".join(turned) or "there was none",
        drift=drift,
        whole=read("whole-vanilla-float64"),
        faults=faults["faults"],
    )


def main() -> None:
    PAGE.write_text(render(), encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
