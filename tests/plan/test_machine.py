"""The machine's limits: the loops do what they say, figures are kept, and the roofline's sums."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npmlp.kernels import cache
from npmlp.plan import machine as machines
from npmlp.plan import measure, probe
from npmlp.plan.machine import Level, Machine, Rates

# -------------------------------------------------------------------------------- the loops

ROWS = min(2, int(cache.numba.config.NUMBA_NUM_THREADS))


def ran(what: int, times: int, x: float, y: float, memory: np.ndarray) -> np.ndarray:
    """Run a loop on one thread for each row, and give its sums."""
    sums = measure._aligned(len(memory), measure.PAGE, memory.dtype)
    with measure._threads(len(memory)) as there_are:
        if len(memory) > 1 and not there_are:
            pytest.skip("kernels run on one thread here")
        probe.work(what, times, x, y, memory, sums)
    return sums[:, : probe.ROUND // memory.itemsize]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [1, ROWS])
class TestLoops:
    """Small whole numbers and halves, so that no sum is rounded and all are compared exactly."""

    def memory(self, rows: int, dtype: Any) -> np.ndarray:
        memory = measure._aligned(rows, 3 * measure.PAGE, dtype)
        memory[:] = np.random.default_rng(0).integers(0, 8, memory.shape)
        return memory

    def test_every_chain_of_multiply_adds_has_every_step(self, rows: int, dtype: Any) -> None:
        memory = self.memory(rows, dtype)
        before, n = memory.copy(), probe.CHAINS * probe.VECTOR_BYTES // memory.itemsize
        ran(probe.MULTIPLY_ADD, 1000, 1, 3, memory)
        np.testing.assert_array_equal(memory[:, :n], before[:, :n] + 3000)
        np.testing.assert_array_equal(memory[:, n:], before[:, n:])

        memory[:] = before
        ran(probe.MULTIPLY_ADD, 3, 0.5, 1, memory)
        np.testing.assert_array_equal(memory[:, :n], before[:, :n] / 8 + 1.75)

    def test_reading_reads_everything_as_often_as_it_says(self, rows: int, dtype: Any) -> None:
        memory = self.memory(rows, dtype)
        before = memory.copy()
        sums = ran(probe.READ, 5, 0, 0, memory)
        rounds = before.reshape(rows, -1, sums.shape[1])
        np.testing.assert_array_equal(sums, 1 + 5 * rounds.sum(axis=1))  # they begin as ones
        np.testing.assert_array_equal(memory, before)

    def test_writing_writes_everything(self, rows: int, dtype: Any) -> None:
        memory = self.memory(rows, dtype)
        ran(probe.FILL, 5, 0, 10, memory)
        assert (memory == 14).all()  # the fifth of 10, 11, …

    def test_the_triad_is_a_product_and_a_sum(self, rows: int, dtype: Any) -> None:
        memory = self.memory(rows, dtype)
        _, b, c = np.split(memory.copy(), 3, axis=1)
        ran(probe.TRIAD, 2, 0.5, 0, memory)
        np.testing.assert_array_equal(memory, np.concatenate([b * 0.5 + c, b, c], axis=1))


def test_memory_begins_at_pages() -> None:
    for row in measure._aligned(3, 100, np.float32):
        assert row.ctypes.data % measure.PAGE == 0


# what the processor is told to do, for the features in the environment: a line of JSON
INSTRUCTIONS = """
import json, numpy as np
from npmlp.kernels import cache
from npmlp.plan import probe
n = probe.CHAINS * probe.VECTOR_BYTES // 4
@cache.njit(cache=False)
def only_chains(times, x, y, memory):
    probe.chains(times, x, y, memory)
memory = np.ones(n, np.float32)
only_chains(10, np.float32(1), np.float32(2), memory)
(assembly,) = only_chains.inspect_asm().values()
print(json.dumps([probe.FUSED_BYTES, probe.CHAINS, bool((memory == 21).all()), assembly]))
"""
X86 = platform.machine() in ("x86_64", "AMD64")


def instructions(**settings: str) -> list[Any]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_CPU")}
    done = subprocess.run(
        [sys.executable, "-c", INSTRUCTIONS], env=environment | settings, text=True, check=True,
        capture_output=True, timeout=120,
    )  # fmt: skip
    found: list[Any] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(not probe.FUSED_BYTES, reason="this processor has no fused multiply-add")
def test_multiply_adds_are_one_instruction_for_a_whole_vector() -> None:
    fused, chains, right, assembly = instructions()
    register = {64: r"%zmm", 32: r"%ymm", 16: r"v\d+\.4s"}[fused]
    lines = assembly.splitlines()
    found = [
        at for at, line in enumerate(lines)
        if re.match(rf"\s*(?:vfmadd\w+ps|fmla)\b.*{register}", line)
    ]  # fmt: skip
    assert right and len(found) >= chains
    # all chains stay in registers: meanwhile no vector goes to the stack
    meanwhile = lines[found[0] : found[-1]]
    assert not [x for x in meanwhile if re.search(register, x) and re.search(r"\bsp|rsp", x)]


@pytest.mark.skipif(
    not X86 or probe.FUSED_BYTES < 32, reason="the instructions of these processors do not run here"
)
@pytest.mark.parametrize(
    ("name", "features", "bytes_", "instruction"),
    [
        ("haswell", "+avx,+avx2,+fma", 32, r"vfmadd\w+ps\b.*%ymm"),
        ("x86-64", "+sse,+sse2", 0, r"mulps\b.*%xmm"),
    ],
)
def test_other_processors_have_their_own_vectors(
    name: str, features: str, bytes_: int, instruction: str
) -> None:
    fused, chains, right, assembly = instructions(NUMBA_CPU_NAME=name, NUMBA_CPU_FEATURES=features)
    assert fused == bytes_ and right
    assert len(re.findall(instruction, assembly)) >= chains


def test_the_widest_vectors_are_taken() -> None:
    both = frozenset(["+avx2", "+fma"])
    assert probe.vectors_for(both | {"+avx512f"}) == (64, 32)
    assert probe.vectors_for(both) == (32, 16)
    assert probe.vectors_for(frozenset(["+avx2"])) == (0, 16)  # without fused multiply-adds
    assert probe.vectors_for(frozenset(["+neon"])) == (16, 32)


# ------------------------------------------------------------------------------ the measurement


def test_levels_are_read_as_linux_writes_them(tmp_path: Path) -> None:
    for number, (kind, level, size, users) in enumerate(
        [("Data", 1, "48K", "0"), ("Instruction", 1, "32K", "0"), ("Unified", 2, "2M", "0-1"),
         ("Unified", 3, "300M", "0-63")]
    ):  # fmt: skip
        folder = tmp_path / f"index{number}"
        folder.mkdir()
        texts = {"type": kind, "level": level, "size": size, "shared_cpu_list": users}
        for name, text in texts.items():
            (folder / name).write_text(f"{text}\n")
    assert measure.levels(tmp_path) == [
        ("L1", 48 << 10, False),
        ("L2", 2 << 20, False),
        ("L3", 300 << 20, True),
        ("memory", 0, True),
    ]
    assert [name for name, *_ in measure.levels(tmp_path / "none")] == ["L1", "L2", "L3", "memory"]


def test_a_measurement_is_whole_and_can_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "_MOST", 4 << 20)  # little memory and little time: the figures
    monkeypatch.setattr(measure, "_BUDGET", 0.0)  # are of no use, but there must be all of them
    before = cache.numba.get_num_threads()
    found = measure.measure(ROWS)
    assert cache.numba.get_num_threads() == before
    assert [level.name for level in found.levels] == [name for name, *_ in measure.levels()]
    every = [found.float32, found.float64]
    every += [rates for v in found.levels for rates in (v.read, v.write, v.triad)]
    assert all(0 < rates.one <= rates.all < np.inf for rates in every)
    assert 0 < found.call_seconds < 1
    file = tmp_path / "machine.json"
    file.write_text(json.dumps(dataclasses.asdict(found)))
    assert machines._read(file) == found


# ---------------------------------------------------------------------------------- the file


def made(peak: float = 100.0) -> Machine:
    """A machine of four threads, with round figures."""
    return Machine(
        processor="Example", vector_bytes=32, threads=4,
        float32=Rates(peak, 3 * peak), float64=Rates(peak / 2, 1.5 * peak),
        levels=(
            Level("L1", 1000, False, 500, Rates(50, 200), Rates(25, 100), Rates(60, 240)),
            Level("L2", 8000, False, 4000, Rates(40, 160), Rates(20, 80), Rates(30, 120)),
            Level("L3", 64000, True, 32000, Rates(20, 60), Rates(10, 30), Rates(15, 45)),
            Level("memory", 0, True, 512000, Rates(10, 15), Rates(5, 10), Rates(8, 12)),
        ),
        call_seconds=2e-7,
    )  # fmt: skip


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where figures are kept. Each measurement finds another peak: 1, 2, 3, …"""
    peaks = iter(range(1, 100))
    monkeypatch.setattr(measure, "measure", lambda count: made(next(peaks)))
    path = tmp_path / "npmlp" / "machine.json"
    monkeypatch.setattr(machines, "_file", lambda count: path)
    return path


def test_figures_are_measured_once_and_then_read(file: Path) -> None:
    first = machines.this_machine()
    assert first == made(1) and file.exists()
    assert machines.this_machine() == first
    assert machines.this_machine(again=True) == made(2)
    assert machines.this_machine() == made(2)


def test_measured_again_the_better_of_each_figure_stays(file: Path) -> None:
    file.parent.mkdir()
    old = made(50)
    slow = Rates(1, 2)
    level = dataclasses.replace(old.levels[0], read=slow, write=Rates(99, 1), triad=slow)
    old = dataclasses.replace(old, float64=slow, levels=(level, *old.levels[1:]), call_seconds=1e-7)
    file.write_text(json.dumps(dataclasses.asdict(old)))
    new = made(1)  # what is measured now
    best = dataclasses.replace(new.levels[0], write=Rates(99, 100))
    assert machines.this_machine(again=True) == dataclasses.replace(
        new, float32=old.float32, float64=Rates(1, 2), levels=(best, *new.levels[1:]),
        call_seconds=1e-7,
    )  # fmt: skip


WHOLE = json.loads(json.dumps(dataclasses.asdict(made(50))))


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"processor": ',
        "[]",
        json.dumps({**WHOLE, "levels": []}),
        json.dumps({**WHOLE, "levels": WHOLE["levels"][:-1]}),  # no memory behind the caches
        json.dumps({k: v for k, v in WHOLE.items() if k != "float64"}),
        json.dumps({**WHOLE, "another": 1}),
        json.dumps({**WHOLE, "float32": [1.0]}),
        json.dumps({**WHOLE, "float32": [1.0, "many"]}),
        json.dumps({**WHOLE, "float32": [1.0, float("nan")]}),
        json.dumps({**WHOLE, "call_seconds": 0}),
        json.dumps({**WHOLE, "threads": "4"}),
    ],
)
def test_a_file_that_is_none_is_measured_anew(text: str, file: Path) -> None:
    file.parent.mkdir()
    file.write_text(text)
    assert machines.this_machine() == made(1)
    assert machines._read(file) == made(1)


def test_where_nothing_can_be_written_it_is_measured_each_time(file: Path) -> None:
    file.parent.write_text("a file is in the way")
    assert [machines.this_machine(), machines.this_machine()] == [made(1), made(2)]


def test_each_number_of_threads_has_its_file() -> None:
    assert machines._file(1) == machines._file(1) != machines._file(2)


# ------------------------------------------------------------------------------ the roofline


@pytest.mark.parametrize(
    ("flops", "bytes_", "dtype", "threads", "working_set", "seconds"),
    [
        (1000, 10, np.float32, 1, 500, 10),  # arithmetic: 1000 / 100
        (1000, 10, np.float64, 1, 500, 20),  # half as fast
        (1000, 10, np.float32, 2, 500, 5),  # twice one thread's
        (1200, 10, np.float32, 4, 500, 4),  # all four are measured: 300
        (1200, 10, np.float32, 9, 500, 4),  # no more than all
        (1000, 10, np.float32, 4, 500, 1000 / 300),
        (0, 600, np.float32, 1, 1000, 10),  # the first cache at its best: the triad's 60
        (0, 600, np.float32, 1, 1001, 15),  # the second: reading, 40
        (0, 600, np.float32, 1, 64000, 30),
        (0, 600, np.float32, 1, 64001, 60),  # memory
        (0, 600, np.float32, 4, 4000, 2.5),  # four first caches hold it: 240
        (0, 600, np.float32, 4, 64001, 40),  # but there is one third cache for all
        (0, 600, np.float32, 2, 10**9, 40),  # twice 10 are more than all have together, 15
        (1000, 700, np.float32, 1, 8000, 17.5),  # 10 of arithmetic beside 700 / 40
    ],
)
def test_the_limit_is_the_longer_of_arithmetic_and_memory(
    flops: float, bytes_: float, dtype: Any, threads: int, working_set: float, seconds: float
) -> None:
    # 1e-12: a few roundings of one quotient
    assert made().limit_seconds(flops, bytes_, dtype, threads, working_set) == pytest.approx(
        seconds, rel=1e-12
    )


# -------------------------------------------------------------------------------- the table


def test_the_table_has_a_row_for_every_figure() -> None:
    giga = made(177e9)
    lines = machines.table(giga).splitlines()
    assert lines[0] == "Example, vectors of 32 bytes"
    assert lines[2].split() == ["1", "thread", "4", "threads"]
    assert lines[3].split() == ["multiply-adds,", "float32", "177.0", "531.0", "GFLOP/s"]
    assert len([line for line in lines if line.endswith("GB/s")]) == 12
    assert "costs 0.20 µs" in machines.table(giga)
    busy = dataclasses.replace(giga, float32=Rates(100, 101))
    assert "other programs" in machines.table(busy) and "other programs" not in "".join(lines)


def test_the_command_prints_it(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert machines.main([]) == 0
    assert capsys.readouterr().out == machines.table(made(1)) + "\n"
    assert machines.main(["--again"]) == 0
    assert capsys.readouterr().out == machines.table(made(2)) + "\n"
    with pytest.raises(machines.NpmlpError, match="got '--anew'; there is --again"):
        machines.main(["--anew"])
