"""How Numba compiles here, and on which threads it computes."""

from typing import Any

import numba
import numpy as np
import torch
from numba import types
from numba.extending import intrinsic

Array = np.ndarray[Any, Any]

# the threads of torch, which waits for work awake, where both find the same OpenMP; else Numba's own
numba.config.THREADING_LAYER_PRIORITY = ["omp", "workqueue", "tbb"]  # type: ignore[attr-defined]

# of what Numba can make parallel only the loops that say so: it compiles in half the time
PARALLEL = dict.fromkeys(
    ["comprehension", "reduction", "inplace_binop", "setitem", "numpy", "stencil", "fusion"], False
)


def use_torchs_threads() -> int:
    """As many as torch computes on in this thread; returns their number."""
    n = torch.get_num_threads()
    numba.set_num_threads(min(n, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    if torch.get_num_threads() != n:  # Numba's first start takes all
        torch.set_num_threads(n)
    return n


def compiled(*, is_parallel: bool = False, is_as_written: bool = False) -> Any:
    """Compiled at the first call; kept on disk where there is a place to, until its file or Numba changes.

    What it calls from other files is compiled into it, and so are the options here: Numba does not see when these change
    (then delete `model/__pycache__`).

    `is_as_written`: sums and products in that order and no other, which elsewhere may follow from what stands beside them.
    """

    def decorate(function: Any) -> Any:
        options: dict[str, Any] = {"fastmath": not is_as_written, "error_model": "numpy"}
        if is_parallel:
            options["parallel"] = PARALLEL | {"prange": True}
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # nowhere to write
            return numba.njit(**options)(function)

    return decorate


def inlined(function: Any) -> Any:
    """What it decorates says which instructions of LLVM stand in the place of a call."""
    return intrinsic(function)


@inlined
def take(_context: Any, taken: Any, n: Any) -> Any:
    """The number that an array begins with, to which `n` is added; no other thread gets the same."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        return builder.atomic_rmw("add", array.data, args[1], "monotonic")

    return types.intp(taken, types.intp), generate
