"""What Numba needs to be told: how to compile, and the few operations that it has no words for."""

from collections.abc import Iterable
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

Array = np.ndarray[Any, Any]

# the threads of torch, which waits for work awake, where both find the same OpenMP; else Numba's own
numba.config.THREADING_LAYER_PRIORITY = ["omp", "workqueue", "tbb"]  # type: ignore[attr-defined]

# of what Numba can make parallel only the loops that say so: it compiles in half the time
PARALLEL = dict.fromkeys(
    ["comprehension", "reduction", "inplace_binop", "setitem", "numpy", "stencil", "fusion"], False
)
INT32, INT64 = ir.IntType(32), ir.IntType(64)
LANES, COLUMNS = 16, 4  # of `block`: numbers that are multiplied at a time, rows of the weight


def use_torchs_threads() -> None:
    """As many as torch computes on in this thread."""
    n = torch.get_num_threads()
    numba.set_num_threads(min(n, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    if torch.get_num_threads() != n:  # Numba's first start takes all
        torch.set_num_threads(n)


def compiled(*, is_parallel: bool = False, is_as_written: bool = False) -> Any:
    """Compiled at the first call; kept on disk where there is a place to.

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


def _wide(_context: Any, kept: Any) -> Any:
    """A number of the cache as float32; uint16 holds the bits of a float16."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        if kept == types.float32:
            return args[0]
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return types.float32(kept), generate


def _narrow(_context: Any, number: Any, like: Any) -> Any:
    """The opposite: a float32 as the cache keeps it, of which `like` is an element."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        if like == types.float32:
            return args[0]
        return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), ir.IntType(16))

    return like(number, like), generate


def _power_of_two(_context: Any, n: Any) -> Any:
    """2^n as float32, n a whole number of 32 bits from -126 to 127: it is what stands in a float's exponent."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        exponent = builder.shl(builder.add(args[0], INT32(127)), INT32(23))
        return builder.bitcast(exponent, ir.FloatType())

    return types.float32(types.int32), generate


wide: Any = intrinsic(_wide)
narrow: Any = intrinsic(_narrow)
power_of_two: Any = intrinsic(_power_of_two)


def _picked(builder: Any, a: Any, b: Any, lanes: Iterable[int]) -> Any:
    """Elements of two vectors as one, counted on from the first to the second."""
    numbers = [INT32(lane) for lane in lanes]
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(INT32, len(numbers)), numbers))


def _pair_sums(builder: Any, a: Any, b: Any) -> Any:
    """a0 + a1, a2 + a3, b0 + b1, b2 + b3, a4 + a5 and so on: half as many of each."""
    n = a.type.count
    even = [four + of + i for four in range(0, n, 4) for of in (0, n) for i in (0, 2)]
    odd = [lane + 1 for lane in even]
    return builder.add(_picked(builder, a, b, even), _picked(builder, a, b, odd))


def _new_block(n_rows: int) -> Any:
    """The function `block(x, x_step, n, weight, step, bias, o, y)`, as `kernels.multiply` calls it.

    It writes y (N, O) = x_step step (x weight^T) + bias in `n_rows` rows from n and four columns from o on. Nearly all
    work of a step is here, so it says which numbers stand side by side: 16 of a row are multiplied at a time, and
    neighbouring products added to one of 8 sums. Of that LLVM makes the instruction that the processor has for it
    (`vpmaddwd`, `vpdpwssd`, `smull`).

    x (N, I') int16, x_step (N,), weight (O, I') int8, step (O,), bias (O,); I' a multiple of 16.
    """

    def typed(*kinds: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            x, x_step, weight, step, bias, y = 0, 1, 3, 4, 5, 7  # of the arguments
            n, o = args[2], args[6]

            def array(argument: int) -> Any:
                make = context.make_array(signature.args[argument])
                return make(context, builder, args[argument])

            def pointer(argument: int, *indices: Any, length: int) -> Any:
                """Of numbers of an array, side by side from there on."""
                kind = signature.args[argument]
                first = cgutils.get_item_pointer(context, builder, kind, array(argument), indices)  # type: ignore[no-untyped-call]
                vector = ir.VectorType(context.get_data_type(kind.dtype), length)
                return builder.bitcast(first, vector.as_pointer())

            def load(argument: int, *indices: Any, length: int) -> Any:
                return builder.load(pointer(argument, *indices, length=length), align=1)

            def load_wide(argument: int, row: Any, i: Any) -> Any:
                numbers = load(argument, row, i, length=LANES)
                return builder.sext(numbers, ir.VectorType(INT32, LANES))

            rows = [builder.add(n, INT64(r)) for r in range(n_rows)]
            columns = [builder.add(o, INT64(c)) for c in range(COLUMNS)]
            eight = ir.VectorType(INT32, LANES // 2)
            sums = [[cgutils.alloca_once(builder, eight) for _ in columns] for _ in rows]  # type: ignore[no-untyped-call]
            for total in (total for own in sums for total in own):
                builder.store(ir.Constant(eight, [0] * eight.count), total)

            end = builder.extract_value(array(x).shape, 1)
            with cgutils.for_range_slice(builder, INT64(0), end, INT64(LANES)) as (i, _):
                numbers = [load_wide(x, row, i) for row in rows]
                for c, column in enumerate(columns):
                    weights = load_wide(weight, column, i)
                    for r in range(n_rows):
                        products = builder.mul(numbers[r], weights)
                        even = _picked(builder, products, products, range(0, LANES, 2))
                        odd = _picked(builder, products, products, range(1, LANES, 2))
                        total = builder.add(builder.load(sums[r][c]), builder.add(even, odd))
                        builder.store(total, sums[r][c])

            steps, added = load(step, o, length=COLUMNS), load(bias, o, length=COLUMNS)
            for row, own in zip(rows, sums, strict=True):
                p, q, r, s = (builder.load(total) for total in own)
                both = _pair_sums(builder, _pair_sums(builder, p, q), _pair_sums(builder, r, s))
                low = _picked(builder, both, both, range(COLUMNS))
                high = _picked(builder, both, both, range(COLUMNS, 2 * COLUMNS))
                exact = builder.sitofp(builder.add(low, high), steps.type)
                one = load(x_step, row, length=1)
                scale = builder.fmul(_picked(builder, one, one, [0] * COLUMNS), steps)
                result = builder.fadd(builder.fmul(exact, scale), added)
                builder.store(result, pointer(y, row, o, length=COLUMNS), align=1)
            return context.get_dummy_value()

        return types.void(*kinds), generate

    def block(
        _context: Any,
        x: Any,
        x_step: Any,
        n: Any,
        weight: Any,
        step: Any,
        bias: Any,
        o: Any,
        y: Any,
    ) -> Any:
        return typed(x, x_step, types.intp, weight, step, bias, types.intp, y)

    return intrinsic(block)


block_of_two: Any = _new_block(2)
block_of_one: Any = _new_block(1)
