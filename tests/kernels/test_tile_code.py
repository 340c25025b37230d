"""The tile on other processors: AVX2's runs here in a process that has no more, NEON's is compiled
for ARM and its instructions are looked at.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys

import numpy as np
import pytest

from npmlp.kernels import matmul, scratch
from npmlp.kernels.vectors import tile_for

HASWELL = {
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+bmi,+bmi2,+sse4.1,+sse4.2,+popcnt,+f16c,+lzcnt,+movbe",
}
SHAPES = [(64, 784, 100), (9, 17, 33), (100, 64, 784), (7, 300, 10), (67, 515, 1100)]

PRODUCTS = """
import hashlib, sys
import numpy as np
from npmlp.kernels import conv, matmul, scratch, vectors
digest = hashlib.sha256()
for dtype in ("float32", "float64"):
    for n, k, m in {shapes}:
        rng = np.random.default_rng(n)
        a, b = rng.standard_normal((n, k)).astype(dtype), rng.standard_normal((k, m)).astype(dtype)
        bt, bias = np.ascontiguousarray(b.T), rng.standard_normal(m).astype(dtype)
        out = np.empty((n, m), dtype)
        matmul.multiply(a, b, out, bias)
        digest.update(out.tobytes())
        panels = [np.empty(*spec) for spec in scratch.panels(n, k, m, out.dtype)]
        matmul.multiply_transposed(a, bt, out, panels, bias, relu=True)
        digest.update(out.tobytes())
    for images, (c, k) in ((3, (1, 6)), (2, (6, 12)), (9, (2, 5)), (3, (17, 4))):
        rng = np.random.default_rng(images)
        x = rng.standard_normal((images, c, 12, 13)).astype(dtype)
        weight, bias = rng.standard_normal((k, c, 5, 4)).astype(dtype), rng.random(k).astype(dtype)
        pooled = np.empty((images, k, 4, 5), dtype)
        outs = pooled, np.empty(pooled.shape, np.int64)
        attrs = dict(stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1)
        conv.conv_relu_pool_forward((x, weight, bias), outs, (), **attrs)
        dout = rng.standard_normal(pooled.shape).astype(dtype)
        grads = tuple(np.empty_like(a) for a in (x, weight, bias))
        work = scratch.conv2d_scratch((x.shape, weight.shape), (x.dtype,), attrs, (True,) * 3)[1]
        work = tuple(np.empty(*spec) for spec in work)
        conv.conv_relu_pool_backward(dout, (x, weight, bias), outs, grads, work, **attrs)
        for array in (*outs, *grads):
            digest.update(array.tobytes())
print(vectors.VECTOR_BYTES, digest.hexdigest())
"""


def run(code, **settings):
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | settings, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()


def avx2_here():
    from npmlp.kernels.vectors import processor_features

    return {"+avx2", "+fma"} <= processor_features()


# The tiles of AVX-512 in the instructions of a lesser processor: each of their vectors becomes two.
# Slow, and kept in no cache, but the same arithmetic in the same order.
WIDE = """
from numba import config
config.CPU_FEATURES = "+avx512f"
from npmlp.kernels import vectors
config.CPU_FEATURES = None
"""


@pytest.mark.skipif(not avx2_here(), reason="a processor without AVX2")
def test_every_width_of_vectors_gives_the_same_bits(tmp_path):
    code = PRODUCTS.format(shapes=SHAPES)
    mine = run(code)
    narrow = run(code, **HASWELL) if mine[0] == "64" else mine
    assert narrow[0] == "32"
    wide = mine if mine[0] == "64" else run(WIDE + code, NUMBA_CACHE_DIR=str(tmp_path))
    assert wide[0] == "64"
    assert narrow[1] == wide[1]


STEPS = """
import numpy as np
import npmlp
from npmlp import models, nn
from npmlp.kernels import vectors
npmlp.set_kernels("numba")
print(vectors.VECTOR_BYTES)
rng = np.random.default_rng(0)
for rows, k, m in ((70, 700, 30), (300, 700, 900)):  # as dot products, and in blocks
    a, b = rng.standard_normal((rows, k)), rng.standard_normal((m, k))
    found = nn.functional.linear(npmlp.from_numpy(a), npmlp.from_numpy(b)).numpy()
    # sums of 700 products, each rounding half a unit of a sum of sizes below 600
    np.testing.assert_allclose(found, a @ b.T, rtol=0, atol=700 * 2.3e-16 * 600)
x = npmlp.from_numpy(rng.standard_normal((12, 1, 28, 28)).astype("float32"))
y = npmlp.from_numpy(rng.integers(0, 10, 12))
for build in (models.Vanilla, models.LeNet, models.Residual):
    npmlp.manual_seed(1)
    model = build()
    optimizer = npmlp.optim.Adam(model.parameters())
    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss
    plan = npmlp.capture(step)
    print(*[plan(x, y).item() for _ in range(3)])
"""


@pytest.mark.skipif(not avx2_here(), reason="no AVX2: there is no tile here to compare with")
def test_a_processor_without_a_tile_trains_all_the_same():
    plain = run(STEPS, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="+sse2")
    mine = run(STEPS)
    assert plain[0] == "0" and mine[0] != "0"
    assert len(plain) == len(mine) == 10
    # long products are added up in another order there, which moves losses of three steps by some
    # units in the last place of float32 (3e-7 was seen); a wrong entry moves the first digits
    np.testing.assert_allclose(np.float64(plain[1:]), np.float64(mine[1:]), rtol=2e-6)


def test_each_processor_has_the_tile_that_fits_its_registers():
    assert tile_for(frozenset({"+avx2", "+fma", "+avx512f"})) == (64, 8, 3)
    assert tile_for(frozenset({"+avx2", "+fma"})) == (32, 6, 2)
    assert tile_for(frozenset({"+neon"})) == (16, 8, 3)
    assert tile_for(frozenset({"+avx"})) == (0, 0, 0)


AVX2 = """
import numpy as np
from npmlp.kernels import direct, panels
from npmlp.kernels.cache import njit
from npmlp.kernels.ladder import Matrix
memory = np.zeros(4096, np.float32)
m, size = Matrix(memory, 0, 64, 1), (6, 10, 16)
zero, places = np.float32(0), np.zeros(10, np.int64)
for function, arguments in (
    (panels._strip_2, (m, m, m, zero, m, *size)),
    (panels._dots_of_many, (m, m, m, zero, m, *size)),
    (direct.grid_product, (m, memory, 0, places, zero, memory.reshape(64, 64), *size)),
):
    again = njit(cache=False)(function.py_func)
    again(*arguments)
    print(*again.inspect_asm().values())
"""


@pytest.mark.skipif(not avx2_here(), reason="no AVX2: the loops are run before they are read")
def test_avx2_s_tiles_keep_their_sums_in_registers():
    done = subprocess.run(
        [sys.executable, "-c", AVX2], env=os.environ | HASWELL, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    blocks = re.split(r"^(\.LBB\d+_\d+|\S+):$", done.stdout, flags=re.M)
    loops = []
    for label, block in zip(blocks[1::2], blocks[2::2], strict=True):
        body = block.partition(f"{label}\n")[0]
        if f"\t{label}\n" in block and body.count("vfmadd") >= 12:
            loops.append(body)
    # of whole tiles, and of both halves of the lanes of dot products; with one step of k in each,
    # since two want more registers than there are
    whole = [body for body in loops if "vmaskmov" not in body]
    assert len(whole) >= 4
    for body in whole:
        assert body.count("vfmadd") == 12
        assert "rsp" not in body, "a sum goes to the stack"


NEON = r"""
import re
import llvmlite.binding as llvm
from npmlp.kernels import panels, vectors
from npmlp.kernels.cache import numba
from npmlp.kernels.ladder import Matrix
import numpy as np

assert (vectors.VECTOR_BYTES, vectors.ROWS, vectors.VECTORS) == (16, 8, 3)
matrix = numba.typeof(Matrix(np.zeros(1, np.float32), 0, 1, 1))
size = numba.types.int64
signature = (matrix, matrix, matrix, numba.types.float32, matrix, size, size, size)
panels._strip_3.compile(signature)
code = panels._strip_3.inspect_llvm(panels._strip_3.signatures[0])
# the one function with the tile; what Numba puts beside it is for this processor
functions = re.findall(r"^define .*?^}$", code, re.M | re.S)
strip = max(functions, key=lambda f: f.count("llvm.fma"))
rest = code
for function in functions:
    rest = rest.replace(function, "")
keep = re.findall(r"^(?:declare |attributes #|!|%\S+ = type ).*$", rest, re.M)
triple = "aarch64-unknown-linux-gnu"
text = "\n".join([f'target triple = "{triple}"', strip, *(x for x in keep if "x86" not in x)])
text = re.sub(r'"target-(cpu|features)"="[^"]*"', "", text)
llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()
module = llvm.parse_assembly(text)
machine = llvm.Target.from_triple(triple).create_target_machine("neoverse-n1", "+neon", 3)
print(machine.emit_assembly(module))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="compiles from x86-64 to ARM")
def test_the_neon_tile_keeps_its_sums_in_registers(tmp_path):
    settings = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+neon"}
    done = subprocess.run(
        [sys.executable, "-c", NEON], capture_output=True, text=True,
        env=os.environ | settings | {"NUMBA_CACHE_DIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.strip() for line in done.stdout.splitlines()]
    sums = [i for i, line in enumerate(lines) if re.match(r"fmla\s+v\d+\.4s", line)]
    # the tile of 8 rows by 3 vectors: 24 sums, each in a register of its own, one after another
    loop = lines[sums[0] : sums[23] + 1]
    registers = {re.match(r"fmla\s+(v\d+)", lines[i]).group(1) for i in sums[:24]}
    assert len(registers) == 24
    assert sums[23] - sums[0] < 40
    assert not any("sp" in line for line in loop), "a sum goes to the stack"


def test_the_products_above_are_right():
    """Of the bits that are compared: they are a b + bias."""
    for n, k, m in SHAPES:
        rng = np.random.default_rng(n)
        a, b = rng.standard_normal((n, k)), rng.standard_normal((k, m))
        bias, out = rng.standard_normal(m), np.empty((n, m))
        panels = [np.empty(*spec) for spec in scratch.panels(n, k, m, out.dtype)]
        matmul.multiply_transposed(a, np.ascontiguousarray(b.T), out, panels, bias)
        # K + 1 roundings of half a unit each, of Σ|a||b| + |bias| (Higham 2002, equation 3.5), here
        # and in NumPy's
        bound = (k + 1) * np.finfo(float).eps * (np.abs(a) @ np.abs(b) + np.abs(bias))
        assert np.all(np.abs(out - (a @ b + bias)) <= bound)
