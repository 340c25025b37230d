"""Write docs/performance.md from what `make bench` measured, and from nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
from compare import describe, duration
from performance_goals import GOALS, Goal, Measured
from performance_plots import NAMES, picture, write_pictures

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
PAGE = DOCS / "performance.md"
DASH = "–"
LIBRARIES = {**NAMES, "sklearn": "scikit-learn"}
WAYS = {"one_by_one": "image by image", "whole_batches": "whole batches"}


def bound(goal: Goal, value: float | None) -> str:
    """A bound as the table has it: "≥ 3×"."""
    return DASH if value is None else f"{'≤' if goal.at_most else '≥'} {value:g}{goal.unit}"


def spread(r: dict[str, float]) -> str:
    """A ratio with its quartiles."""
    return f"{r['median']:.2f} ({r['quarter']:.2f} … {r['three_quarters']:.2f})"


def settled(found: dict[str, Any]) -> str:
    """The seconds and the setting of a side's best."""
    return f"{duration(found['seconds'])} ({describe(found['setting'])})"


def judged(goal: Goal, measured: Measured) -> tuple[str, str]:
    """What was measured for a goal, and whether that is enough."""
    value = measured.value(goal)
    if value is None:
        return DASH, "not measured"
    shown = f"{value:.2f}{goal.unit}"
    if not goal.is_met(value, goal.must):
        return shown, "**SHORT**"
    reached = goal.aim is not None and goal.is_met(value, goal.aim)
    return shown, "aim reached" if reached else "reached"


class Tables:
    """What the template asks for."""

    def __init__(self, measured: Measured) -> None:
        self.measured = measured
        self.others = Measured.on_other_machines(measured.folder)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of a result, none where it is not complete."""
        found = self.measured.read(name)
        return [] if found is None else found["rows"]

    def picture(self, name: str) -> str:
        """The file's name of a result's picture."""
        return picture(name)

    def goals(self) -> list[dict[str, str]]:
        """Every goal beside what was measured."""
        table = []
        for goal in GOALS:
            shown, verdict = judged(goal, self.measured)
            table.append(
                {
                    "what": goal.what, "must": bound(goal, goal.must),
                    "aim": bound(goal, goal.aim), "value": shown, "verdict": verdict,
                }
            )  # fmt: skip
        return table

    def elsewhere(self) -> list[list[str]]:
        """The same goals above and on other machines: a line for each, the machines before."""
        everywhere = [self.measured, *self.others]
        names = (f"{one.processor()} ({one.folder.name})" for one in self.others)
        lines = [
            [goal.what, bound(goal, goal.must)]
            + [" ".join(each) for each in (judged(goal, one) for one in everywhere)]
            for goal in GOALS
        ]
        return [["what", "must reach", "above", *names], *lines]

    def machines(self) -> list[str]:
        """What the results were measured on and with, each different one once."""
        found: dict[str, list[str]] = {}
        for name in dict.fromkeys(goal.result for goal in GOALS):
            content = self.measured.read(name)
            if content is not None:
                m, versions = content["machine"], content["versions"]
                text = (
                    f"{m['processor']}, {m['cores']} cores"
                    f"{', ' + m['vectors'] if m['vectors'] else ''}, {m['memory_gib']} GiB, "
                    f"{m['system']}; commit {content['commit']}; "
                    + ", ".join(f"{package} {version}" for package, version in versions.items())
                )
                found.setdefault(text, []).append(name)
        return [f"{', '.join(names)}: {text}" for text, names in found.items()]

    def loads(self) -> str:
        """How busy the machine was before each began, where the system told it."""
        found = []
        for name in dict.fromkeys(goal.result for goal in GOALS):
            content = self.measured.read(name)
            if content is not None and content["load"] is not None:
                found.append(f"{name} {content['load']:.2f}")
        return ", ".join(found)

    def compiler(self) -> str:
        """What torch.compile was given to compile with."""
        found = self.measured.read("step")
        if found is None:
            return DASH
        return found["compiler"] or "none was installed, so that torch.compile is left out"

    def steps(self) -> list[dict[str, str]]:
        """The table of training steps."""
        table = []
        for row in self.rows("step"):
            line = {"network": row["network"], "batch": str(row["batch_size"])}
            for library in ("npmlp", "torch", "jax"):
                best = row["best"].get(library)
                line[library] = DASH if best is None else settled(best)
                if library != "npmlp":
                    r = row["ratio"].get(library)
                    line[f"{library}_ratio"] = DASH if r is None else spread(r)
            table.append(line)
        return table

    def tried(self) -> list[dict[str, str]]:
        """Every setting of every training step and what came of it."""
        return [
            {
                "row": f"{row['network']}, {row['batch_size']}",
                "library": LIBRARIES[library],
                "setting": describe(entry["setting"]),
                "found": entry.get("failed") or duration(entry["seconds"]),
            }
            for row in self.rows("step")
            for library, entries in row["tried"].items()
            for entry in entries
        ]

    def apart(self) -> str:
        """How far the checked losses were apart at most."""
        found = [
            apart for row in self.rows("step") for apart in row["checked"]["losses_apart"].values()
        ]
        return f"{max(found):.0e}" if found else DASH

    def epochs(self) -> list[dict[str, str]]:
        """The table of epochs, scikit-learn's in it."""
        table = []
        for row in self.rows("epoch"):
            against = row["against"]
            scaled = row["trained_images"] != row["scaled_to"]
            table.append(
                {
                    "recipe": row["recipe"],
                    "against": f"PyTorch, {WAYS[against]}",
                    "npmlp": settled(row["best"]["npmlp"]),
                    "peer": settled(row["best"][against]),
                    "ratio": spread(row["ratio"][against]),
                    "note": f"scaled from {row['trained_images']:,} images" if scaled else "",
                }
            )
        for row in self.rows("sklearn"):
            table.append(
                {
                    "recipe": row["recipe"],
                    "against": "scikit-learn",
                    "npmlp": settled(row["best"]["npmlp"]),
                    "peer": settled(row["best"]["sklearn"]),
                    "ratio": spread(row["ratio"]["sklearn"]),
                    "note": "without evaluation",
                }
            )
        return table

    def products(self) -> list[dict[str, str]]:
        """The table of matrix products."""
        return [
            {
                "shape": f"{row['n']} × {row['k']} × {row['m']}",
                "stored": "aᵀ" if row["a_transposed"] else "bᵀ" if row["b_transposed"] else "",
                "where": row["where"][0] + (", …" if len(row["where"]) > 1 else ""),
                "threads": str(row["threads"]),
                **{name: f"{rate:.0f}" for name, rate in row["gflops"].items()},
                "ratio": spread(row["ratio"]),
            }
            for row in self.rows("matmul-peers")
        ]

    def starts(self) -> list[dict[str, str]]:
        """The table of starts."""
        return [
            {
                "what": row["what"],
                "npmlp": duration(row["npmlp_seconds"]),
                "torch": duration(row["torch_seconds"]) if "torch_seconds" in row else DASH,
                "share": spread(row["share"]) if "share" in row else DASH,
            }
            for row in self.rows("start")
        ]

    def memory(self) -> list[dict[str, str]]:
        """The table of peak memories."""
        return [
            {
                "recipe": row["recipe"],
                "report": "with its report" if row["report"] else "without a report",
                "npmlp": f"{row['npmlp_mib']:.0f}",
                "torch": f"{row['torch_mib']:.0f}",
                "share": spread(row["share"]),
            }
            for row in self.rows("memory")
        ]

    def slowest(self) -> list[dict[str, str]]:
        """The points of the scaling where npmlp is the least ahead, at most eight."""
        rows = sorted(self.rows("scaling"), key=lambda row: float(row["ratio"]["median"]))
        return [
            {
                **{field: str(row[field]) for field in ("width", "depth", "batch", "threads")},
                "ratio": spread(row["ratio"]),
            }
            for row in rows[:8]
        ]

    def steep(self) -> list[dict[str, str]]:
        """Doublings that cost over 15 % more than the products' operations grow by."""
        rows = self.rows("scaling")
        found = []
        for row in rows:
            what = row["varied"]
            fields = {"varied": what, "threads": row["threads"], what: 2 * row[what]}
            twice = next((r for r in rows if fields.items() <= r.items()), None)
            if twice is None:
                continue
            operations = twice["flops"] / row["flops"]
            time = twice["seconds"]["npmlp"] / row["seconds"]["npmlp"]
            if time > 1.15 * operations:
                found.append(
                    {
                        "what": f"{what} {row[what]} → {twice[what]}",
                        "threads": str(row["threads"]),
                        "operations": f"{operations:.2f}×",
                        "time": f"{time:.2f}×",
                        "torch": f"{twice['seconds']['torch'] / row['seconds']['torch']:.2f}×",
                    }
                )
        return found

    def _least_epoch(self) -> float | None:
        """Seconds of the products of an epoch of vanilla at the peak that ladder.json has."""
        path = self.measured.folder / "ladder.json"
        if not path.exists():
            return None
        operations = 2 * 60_000 * (784 * 100 * 2 + 100 * 10 * 3)
        return operations / (1e9 * float(json.loads(path.read_text())["peak"][1]))

    def least_epoch(self) -> str:
        """The same in words."""
        least = self._least_epoch()
        return "–" if least is None else duration(least)

    def most_ahead(self, result: str) -> str:
        """How many times that goes into the epoch of scikit-learn ("sklearn"), or of PyTorch with
        whole batches ("epoch").
        """
        peer = {"sklearn": "sklearn", "epoch": "whole_batches"}[result]
        least = self._least_epoch()
        for row in self.rows(result):
            if least and row["recipe"] == "vanilla" and peer in row["best"]:
                return f"{row['best'][peer]['seconds'] / least:.1f}×"
        return "–"


def render(measured: Measured | None = None) -> str:
    """The page's text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    template = environment.get_template("performance.md.j2")
    return template.render(t=Tables(measured or Measured()))


def main() -> None:
    write_pictures(Measured(), DOCS)
    PAGE.write_text(render(), encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
