"""HOW things are computed fast: compiled kernels. Arrays in, arrays out; no Tensor.

Each module is a family of operations and has, for every operation that it knows,

    <op>_forward(inputs, outs, scratch, **attrs)               writes outs
    <op>_backward(dout, inputs, outs, grads, scratch, **attrs)  writes grads, None where not wanted

which are thin Python faces of functions compiled by Numba. Kernels write into arrays that they
are given: whoever calls them owns the memory, so a step that is run again and again allocates
nothing. `outs`, `grads`, `scratch` and `dout` are contiguous; inputs may be views, and a face
copies one only where its loops need contiguous rows. What scratch an operation needs,
npmlp.kernels.scratch says.

matmul is the chapter to begin with. What a kernel computes is written in NumPy in npmlp.ops, and
tests hold the two together.

Numba keeps compiled code beside the source (`cache=True`) and drops it when that one file changes.
A compiled function therefore calls no compiled function of another file: the caller's stale code
would survive an edit of the callee. (npmlp.kernels.addresses is excepted, a cast that stays as it
is; whoever does edit it removes the __pycache__ beside it.)
"""

from npmlp.kernels.allocation import keep_freed_memory

keep_freed_memory()
