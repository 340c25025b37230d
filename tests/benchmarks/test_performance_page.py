"""The committed results of the benchmarks, and docs/performance.md, which is made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

RATIO = {"median", "quarter", "three_quarters", "pairs"}
FIELDS = {
    "step": {"network", "batch_size", "checked", "best", "by_threads", "ratio", "tried"},
    "matmul-peers": {"n", "k", "m", "threads", "where", "gflops", "better", "ratio", "errors"},
    "epoch": {"recipe", "against", "trained_images", "scaled_to", "checked", "best", "ratio"},
    "sklearn": {"recipe", "checked", "best", "ratio", "tried"},
    "start": {"what", "npmlp_seconds"},
    "memory": {"recipe", "report", "npmlp_mib", "torch_mib", "share"},
    "scaling": {"varied", "width", "depth", "batch", "threads", "how", "seconds", "ratio"},
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_committed_result_is_whole_and_says_where_it_is_from(name: str) -> None:
    from bench import SCRIPTS
    from compare import RESULTS

    assert FIELDS.keys() == SCRIPTS.keys()
    path = RESULTS / f"{name}.json"
    if not path.exists():
        pytest.skip("not measured yet: make bench")
    found = json.loads(path.read_text())
    assert found["benchmark"] == name and found["complete"] is True
    assert {"processor", "vectors", "cores", "memory_gib", "system"} <= found["machine"].keys()
    assert {"python", "npmlp", "numpy", "numba", "torch", "jax"} <= found["versions"].keys()
    assert found["commit"] and found["sources"] and "load" in found
    assert found["rows"]
    for row in found["rows"]:
        assert row.keys() >= FIELDS[name]
        for field in ("ratio", "share"):
            ratios = row.get(field, {"median": 1})
            for r in [ratios] if "median" in ratios else ratios.values():
                assert r["median"] > 0
        for side in row.get("tried", {}).values():
            assert all("seconds" in entry or "failed" in entry for entry in side)


def test_the_page_is_what_the_measured_files_say() -> None:
    from performance_page import PAGE, render

    assert PAGE.read_text(encoding="utf-8") == render()


def r(median: float) -> dict[str, Any]:
    return {"median": median, "quarter": 0.9 * median, "three_quarters": 1.1 * median, "pairs": 9}


def write(folder: Path, name: str, rows: list[dict[str, Any]], **more: Any) -> None:
    """A result file with these rows."""
    machine = {
        "processor": "a processor", "vectors": "avx2", "cores": 2, "memory_gib": 8,
        "system": "Linux",
    }  # fmt: skip
    content = {
        "benchmark": name, "complete": True, "machine": machine, "versions": {"npmlp": "0.1.0"},
        "commit": "abc", "sources": "def", "load": 0.1, "compiler": "g++ 1", "rows": rows, **more,
    }  # fmt: skip
    (folder / f"{name}.json").write_text(json.dumps(content))


def step_row(torch: float, jax: float | None) -> dict[str, Any]:
    ratios = {"torch": r(torch), **({} if jax is None else {"jax": r(jax)})}
    setting = {"how": "eager", "optimizer": "fused", "threads": 2}
    sides = ("npmlp", *ratios)
    return {
        "network": "vanilla", "batch_size": 64, "ratio": ratios,
        "best": {side: {"setting": setting, "seconds": 1e-3} for side in sides},
        "checked": {"losses_apart": {"torch": 2e-6}},
        "tried": {"torch": [
            {"setting": setting, "seconds": 2e-3},
            {"setting": {"how": "compile", "threads": 1}, "failed": "does not compute the same"},
        ]},
    }  # fmt: skip


def start_rows(warm: float) -> list[dict[str, Any]]:
    return [
        {"what": "import", "npmlp_seconds": 0.2, "torch_seconds": 1.0, "share": r(0.2)},
        {"what": "warm", "npmlp_seconds": warm, "torch_seconds": 4.0, "share": r(warm / 4)},
        {"what": "first ever", "npmlp_seconds": 20.0},
    ]


def verdicts(folder: Path) -> dict[str, str]:
    """What the page's first table says of each goal that was measured."""
    from performance_goals import Measured
    from performance_page import Tables, render

    measured = Measured(folder)
    goals = Tables(measured).goals()
    page = render(measured)
    for goal in goals:
        assert f"| {goal['value']} | {goal['verdict']} |" in page
    return {goal["what"]: goal["verdict"] for goal in goals if goal["verdict"] != "not measured"}


def test_the_page_says_plainly_where_a_goal_is_missed(tmp_path: Path) -> None:
    from performance_goals import Measured

    assert verdicts(tmp_path) == {}
    write(tmp_path, "step", [step_row(2.0, 4.0), step_row(4.4, 4.0)])  # √8.8 = 2.97
    write(tmp_path, "start", start_rows(warm=1.5))
    assert verdicts(tmp_path) == {
        "training steps, geometric mean beside the best PyTorch": "**SHORT**",
        "training steps, geometric mean beside the best JAX": "aim reached",
        "the least of all these": "reached",
        "import npmlp, as a share of import torch": "aim reached",
        "command line to first step, warm": "reached",
        "command line to first step, first ever": "reached",
    }
    short = Measured(tmp_path).shortfalls()
    assert "training steps, geometric mean beside the best PyTorch: 2.97×, must reach 3" in short
    write(tmp_path, "start", start_rows(warm=2.1))
    assert verdicts(tmp_path)["command line to first step, warm"] == "**SHORT**"


def test_another_machine_has_a_column_of_its_own(tmp_path: Path) -> None:
    from performance_goals import Measured
    from performance_page import render

    write(tmp_path, "step", [step_row(2.0, 4.0)])
    assert "On other machines" not in render(Measured(tmp_path))
    elsewhere = tmp_path / "other-machines" / "old-one"
    elsewhere.mkdir(parents=True)
    write(elsewhere, "step", [step_row(3.1, 1.9)])
    page = render(Measured(tmp_path))
    assert "(old-one) |" in page
    assert "beside the best PyTorch | ≥ 3× | 2.00× **SHORT** | 3.10× reached |" in page
    assert "beside the best JAX | ≥ 2× | 4.00× aim reached | 1.90× **SHORT** |" in page


def test_a_peer_that_was_not_there_and_a_run_that_was_stopped_count_as_not_measured(
    tmp_path: Path,
) -> None:
    write(tmp_path, "step", [step_row(9.0, None)])
    assert not any("JAX" in what for what in verdicts(tmp_path))
    write(tmp_path, "step", [step_row(9.0, 9.0)], complete=False)
    assert verdicts(tmp_path) == {}


def test_the_page_has_tables_and_pictures_of_every_result(tmp_path: Path) -> None:
    from performance_goals import GOALS, Measured
    from performance_page import render
    from performance_plots import FIGURES, picture, write_pictures

    best = {"setting": {"threads": 1}, "seconds": 2.0}
    write(tmp_path, "step", [step_row(3.5, 2.5)])
    write(tmp_path, "start", start_rows(warm=1.0))
    write(tmp_path, "epoch", [
        {"recipe": "residual", "against": against, "trained_images": images, "scaled_to": 60_000,
         "best": {"npmlp": best, against: best}, "ratio": {against: r(20.0)}}
        for against, images in (("one_by_one", 6000), ("whole_batches", 60_000))
    ])  # fmt: skip
    write(tmp_path, "sklearn", [
        {"recipe": "vanilla", "best": {"npmlp": best, "sklearn": best},
         "ratio": {"sklearn": r(12.3)}},
    ])  # fmt: skip
    write(tmp_path, "matmul-peers", [
        {"n": n, "k": 784, "m": 100, "a_transposed": False, "b_transposed": True, "layer": layer,
         "threads": 1, "where": ["somewhere", "elsewhere"], "ratio": r(1.1),
         "gflops": {"npmlp": 90.4, "numpy": 70.0, "torch": 80.0}}
        for n, layer in ((64, "linear"), (512, ""))
    ])  # fmt: skip
    write(tmp_path, "memory", [
        {"recipe": "vanilla", "report": True, "npmlp_mib": 250.0, "torch_mib": 500.0,
         "share": r(0.5)},
    ])  # fmt: skip
    write(tmp_path, "scaling", [
        {"varied": varied, "width": 32, "depth": 2, "batch": 64, "threads": threads,
         "seconds": {"npmlp": 1e-4, "torch": 2e-4}, "ratio": r(2.0)}
        for varied in ("width", "depth", "batch") for threads in (1, 2)
    ])  # fmt: skip
    page = render(Measured(tmp_path))
    assert "not measured" not in page and "Not measured" not in page
    for goal in GOALS:
        assert goal.what in page
    for text in (
        "3.50 (3.15 … 3.85)", "1.00 ms (eager, fused, 2 threads)", "does not compute the same",
        "scaled from 6,000 images", "12.30 (11.07 … 13.53)", "somewhere, …", "| 90 | 70 | 80 |",
        "a processor, 2 cores, avx2, 8 GiB, Linux; commit abc", "g++ 1", "2e-06 of the loss",
    ):  # fmt: skip
        assert text in page, text
    write_pictures(Measured(tmp_path), tmp_path)
    for name in FIGURES:
        assert f"]({picture(name)})" in page
        assert (tmp_path / picture(name)).read_bytes().startswith(b"\x89PNG")
    (tmp_path / "scaling.json").unlink()
    write_pictures(Measured(tmp_path), tmp_path)
    assert not (tmp_path / picture("scaling")).exists()
