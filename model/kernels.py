"""The network on a processor, in plain loops that Numba compiles for it when they first run, and keeps on disk.

torch's operations are large; between small ones most of a step would be waiting. Here a pass is one call. Weights are
whole numbers of 8 bits with one step for each row of them, the inputs of a product whole numbers of 16 bits or a little
less with one step for each of its rows; their products are summed without an error, so that a row is what it is whatever
stands beside it. All between the products is float32; keys and values are kept in float16 or float32.

Shapes: B rows of T positions, N = B T, C width, H heads, K of keys and values, D a head's width, F between gate and down,
S positions.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import binding, ir
from numba import prange, types
from numba.core import cgutils

from model.compiled import Array, compiled, inlined, take


def _lanes() -> int:
    """Numbers of 16 bits that fill one of the processor's vectors, or two small ones."""
    try:
        has_avx512 = binding.get_host_cpu_features().get("avx512bw", False)
    except RuntimeError:  # it does not say
        has_avx512 = False
    return 32 if has_avx512 else 16


LANES, COLUMNS = _lanes(), 4  # of the innermost product: numbers at a time, rows of the weight
ROWS_AT_ONCE, COLUMNS_AT_ONCE = 64, 16  # of a product: so many stay in the nearest cache
LARGEST_NUMBER, LARGEST_WEIGHT, LARGEST_SUM = 2**15 - 1, 127, 2**31 - 1
INT32, INT64 = ir.IntType(32), ir.IntType(64)
HALF, LOG2_E, LN_2 = np.float32(0.5), np.float32(math.log2(math.e)), np.float32(math.log(2))
LEAST_POWER, GREATEST_POWER = np.float32(-126), np.float32(127)
TAYLOR = tuple(np.float32(1 / math.factorial(n)) for n in range(7))


@inlined
def wide(_context: Any, kept: Any) -> Any:
    """A number of the cache as float32; uint16 holds the bits of a float16."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        if kept == types.float32:
            return args[0]
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return types.float32(kept), generate


@inlined
def narrow(_context: Any, number: Any, like: Any) -> Any:
    """The opposite: a float32 as the cache keeps it, of which `like` is an element."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        if like == types.float32:
            return args[0]
        return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), ir.IntType(16))

    return like(number, like), generate


@inlined
def power_of_two(_context: Any, n: Any) -> Any:
    """2^n as float32, n a whole number of 32 bits from -126 to 127: it is what stands in a float's exponent."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        exponent = builder.shl(builder.add(args[0], INT32(127)), INT32(23))
        return builder.bitcast(exponent, ir.FloatType())

    return types.float32(types.int32), generate


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


def new_block(n_rows: int, lanes: int = LANES) -> Any:
    """The function `block(x, x_step, n, weight, step, bias, o, y)`, as `multiply` calls it.

    It writes y (N, O) = x_step step (x weight^T) + bias in `n_rows` rows from n and four columns from o on. Nearly all
    work of a step is here, so it says which numbers stand side by side: 16 or 32 of a row are multiplied at a time, and
    neighbouring products added to one of 8 or 16 sums. Of that LLVM makes the instruction that the processor has for it
    (`vpmaddwd`, `vpdpwssd`, `smull`).

    x (N, I') int16, x_step (N,), weight (O, I') int8, step (O,), bias (O,); I' a multiple of `lanes`.
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
                numbers = load(argument, row, i, length=lanes)
                return builder.sext(numbers, ir.VectorType(INT32, lanes))

            rows = [builder.add(n, INT64(r)) for r in range(n_rows)]
            columns = [builder.add(o, INT64(c)) for c in range(COLUMNS)]
            half = ir.VectorType(INT32, lanes // 2)
            sums = [[cgutils.alloca_once(builder, half) for _ in columns] for _ in rows]  # type: ignore[no-untyped-call]
            for total in (total for own in sums for total in own):
                builder.store(ir.Constant(half, [0] * half.count), total)

            end = builder.extract_value(array(x).shape, 1)
            with cgutils.for_range_slice(builder, INT64(0), end, INT64(lanes)) as (i, _):
                numbers = [load_wide(x, row, i) for row in rows]
                for c, column in enumerate(columns):
                    weights = load_wide(weight, column, i)
                    for r in range(n_rows):
                        products = builder.mul(numbers[r], weights)
                        even = _picked(builder, products, products, range(0, lanes, 2))
                        odd = _picked(builder, products, products, range(1, lanes, 2))
                        total = builder.add(builder.load(sums[r][c]), builder.add(even, odd))
                        builder.store(total, sums[r][c])

            steps, added = load(step, o, length=COLUMNS), load(bias, o, length=COLUMNS)
            for row, own in zip(rows, sums, strict=True):
                p, q, r, s = (builder.load(total) for total in own)
                four = _pair_sums(builder, _pair_sums(builder, p, q), _pair_sums(builder, r, s))
                while (n_left := four.type.count // 2) >= COLUMNS:
                    low = _picked(builder, four, four, range(n_left))
                    high = _picked(builder, four, four, range(n_left, 2 * n_left))
                    four = builder.add(low, high)
                exact = builder.sitofp(four, steps.type)
                one = load(x_step, row, length=1)
                scale = builder.fmul(_picked(builder, one, one, [0] * COLUMNS), steps)
                result = builder.fadd(builder.fmul(exact, scale), added)
                builder.store(result, pointer(y, row, o, length=COLUMNS), align=1)
            return context.get_dummy_value()

        return types.void(*kinds), generate

    def block(
        _: Any, x: Any, x_step: Any, n: Any, w: Any, step: Any, b: Any, o: Any, y: Any
    ) -> Any:
        return typed(x, x_step, types.intp, w, step, b, types.intp, y)

    return inlined(block)


block_of_two: Any = new_block(2)
block_of_one: Any = new_block(1)


class EightBits(NamedTuple):
    """A matrix (O, I), or one of each layer, in whole numbers. O is 4 or more."""

    numbers: Array  # int8 (..., O, I'), filled up with zeros to a multiple of LANES
    step: Array  # of each row (..., O)
    bias: Array  # (..., O) what is added, if only zeros

    @property
    def n_bytes(self) -> int:
        return int(sum(part.nbytes for part in self))


@compiled()
def nearest(x: float) -> int:
    """The whole number, of 32 bits."""
    return np.int32(x + HALF if x > 0 else x - HALF)  # type: ignore[return-value]


@compiled()
def exp(x: float) -> float:
    """e^x from e^-87 to e^88, in operations that a loop can do on several numbers at a time.

    e^x = 2^n e^t, with t small enough for seven terms of Taylor's series. Off by 5e-6 of itself at most, 5e-7 near 1.
    """
    power = min(max(x * LOG2_E, LEAST_POWER), GREATEST_POWER)
    n = nearest(power)
    t = (power - np.float32(n)) * LN_2
    series = TAYLOR[6]
    for i in range(5, -1, -1):
        series = series * t + TAYLOR[i]
    return series * power_of_two(n)  # type: ignore[no-any-return]


@compiled()
def _round(x: Array, largest: Any, numbers: Array) -> Any:
    """x (I,) as whole numbers (I',) up to `largest`; returns their step."""
    top = np.float32(0)
    for i in range(len(x)):
        top = max(top, abs(x[i]))
    scale = largest / top if top > 0 else np.float32(0)
    for i in range(len(x)):
        numbers[i] = nearest(x[i] * scale)
    for i in range(len(x), len(numbers)):
        numbers[i] = 0
    return top / largest


@compiled(is_parallel=True, is_as_written=True)
def multiply(x: Array, weight: Array, step: Array, bias: Array, n_threads: int, y: Array) -> None:
    """y (N, O) = x (N, I) times the rows of `EightBits`, plus the bias (O,); the same on any number of threads."""
    n_rows, n_columns = len(x), len(weight)
    numbers = np.empty((n_rows, weight.shape[1]), np.int16)
    x_step = np.empty(n_rows, np.float32)
    # so that no sum overflows
    largest = np.float32(min(LARGEST_NUMBER, LARGEST_SUM // (LARGEST_WEIGHT * x.shape[1])))
    for n in prange(n_rows):
        x_step[n] = _round(x[n], largest, numbers[n])
    n_groups = (n_columns + COLUMNS_AT_ONCE - 1) // COLUMNS_AT_ONCE
    n_tasks = (n_rows + ROWS_AT_ONCE - 1) // ROWS_AT_ONCE * n_groups
    # a thread always has the same half of its part, so that it finds these weights in its cache; of the rest it
    # takes pieces when it is done, for another program may slow the others down; few rows are not worth that
    own = -(-n_tasks // n_threads) if n_rows <= 8 else n_tasks // (2 * n_threads)
    at_once, taken = max(1, n_tasks // (16 * n_threads)), np.zeros(1, np.int64)
    for thread in prange(n_threads):
        first, end = thread * own, min((thread + 1) * own, n_tasks)
        while first < n_tasks:
            for task in range(first, end):
                row, column = task // n_groups * ROWS_AT_ONCE, task % n_groups * COLUMNS_AT_ONCE
                end_row = min(row + ROWS_AT_ONCE, n_rows)
                for n in range(row, end_row, 2):
                    for c in range(column, min(column + COLUMNS_AT_ONCE, n_columns), COLUMNS):
                        o = min(c, n_columns - COLUMNS)  # the last four may be written twice
                        if n + 1 < end_row:
                            block_of_two(numbers, x_step, n, weight, step, bias, o, y)
                        else:
                            block_of_one(numbers, x_step, n, weight, step, bias, o, y)
            first = n_threads * own + take(taken, at_once)
            end = min(first + at_once, n_tasks)


@compiled(is_parallel=True)
def _gate(both: Array, y: Array) -> None:
    """y (N, F) = silu(gate) up, of gate and up side by side (N, 2 F)."""
    for n in prange(len(y)):
        f = y.shape[1]
        for i in range(f):
            y[n, i] = both[n, i] / (np.float32(1) + exp(-both[n, i])) * both[n, f + i]


@compiled()
def _normalise(x: Array, weight: Array, eps: float, y: Array) -> None:
    squares = np.float32(0)
    for i in range(len(x)):
        squares += x[i] * x[i]
    scale = np.float32(1) / math.sqrt(squares / np.float32(len(x)) + np.float32(eps))
    for i in range(len(x)):
        y[i] = x[i] * scale * weight[i]


@compiled(is_parallel=True)
def normalise(x: Array, weight: Array, eps: float, y: Array) -> None:
    """y (N, C) = RMSNorm of x (N, C), with its weight (C,)."""
    for n in prange(len(x)):
        _normalise(x[n], weight, eps, y[n])


@compiled()
def _prepare(x: Array, norm: Array, eps: float, cos: Array, sin: Array) -> None:
    """A query or key (D,), normalised where Qwen3 does, and turned by the angles (D,) of its position."""
    if len(norm):
        _normalise(x, norm, eps, x)
    half = len(x) // 2
    for i in range(half):
        a, b = x[i], x[half + i]
        x[i] = a * cos[i] - b * sin[i]
        x[half + i] = b * cos[i] + a * sin[i]


@compiled()
def _look(q: Array, keys: Array, values: Array, weights: Array, mixed: Array) -> None:
    """mixed (D,) = softmax(q (D,) keys (S', D) / sqrt(D)) values (S', D), of the first S = len(weights)."""
    n, scale = len(weights), np.float32(1 / math.sqrt(len(q)))
    top = np.float32(-1e30)
    for s in range(n):
        score = np.float32(0)
        for i in range(len(q)):
            score += q[i] * wide(keys[s, i])
        weights[s] = score * scale
        top = max(top, weights[s])
    total = np.float32(0)
    for s in range(n):
        weights[s] = exp(weights[s] - top)
        total += weights[s]
    for s in range(n):
        weights[s] /= total
    for i in range(len(mixed)):
        mixed[i] = 0
    s = 0
    while s + 4 <= n:  # four at a time: less is carried to and fro
        a, b, c, d = weights[s], weights[s + 1], weights[s + 2], weights[s + 3]
        for i in range(len(mixed)):
            mixed[i] += a * wide(values[s, i]) + b * wide(values[s + 1, i])
            mixed[i] += c * wide(values[s + 2, i]) + d * wide(values[s + 3, i])
        s += 4
    while s < n:
        for i in range(len(mixed)):
            mixed[i] += weights[s] * wide(values[s, i])
        s += 1


@compiled(is_parallel=True)
def attend(
    qkv: Array,
    keys: Array,
    values: Array,
    first: int,
    starts: Array,
    cos: Array,
    sin: Array,
    qk_norm: Array,
    eps: float,
    mixed: Array,
) -> None:
    """T new positions of each of B rows: their keys and values are kept, and each query looks at all up to its own.

    qkv      (N, H + 2 K, D) q, k and v, changed on the way
    keys     (R, K, S', D), and values: row `first` + b of them belongs to row b
    starts   (B,) how many positions of each row were there before
    cos      (positions, D) of the angles of rotation, and sin
    qk_norm  (H + K, D), or (H + K, 0)
    mixed    (N, H, D) the result
    """
    n_heads, n_kv, n_new = mixed.shape[1], keys.shape[1], len(qkv) // len(starts)
    n_group = n_heads // n_kv
    for task in prange(len(starts) * n_kv):
        b, head = task // n_kv, task % n_kv
        own_keys, own_values = keys[first + b, head], values[first + b, head]
        weights = np.empty(starts[b] + n_new, np.float32)
        for n in range(b * n_new, (b + 1) * n_new):
            position = starts[b] + n - b * n_new
            k, v = qkv[n, n_heads + head], qkv[n, n_heads + n_kv + head]
            _prepare(k, qk_norm[n_heads + head], eps, cos[position], sin[position])
            for i in range(len(k)):
                own_keys[position, i] = narrow(k[i], own_keys[position, i])
                own_values[position, i] = narrow(v[i], own_values[position, i])
            seen = weights[: position + 1]
            for one in range(head * n_group, (head + 1) * n_group):
                _prepare(qkv[n, one], qk_norm[one], eps, cos[position], sin[position])
                _look(qkv[n, one], own_keys, own_values, seen, mixed[n, one])


class Weights(NamedTuple):
    """Of all L layers."""

    qkv: EightBits  # (L, (H + 2 K) D, C)
    out: EightBits  # (L, C, H D)
    gate_up: EightBits  # (L, 2 F, C)
    down: EightBits  # (L, C, F)
    attention_norm: Array  # (L, C)
    mlp_norm: Array  # (L, C)
    qk_norm: Array  # (L, H + K, D), or (L, H + K, 0)
    eps: float


@compiled()
def run_layers(
    x: Array, w: Weights, cache: Array, first: int, starts: Array, angles: Any, n_threads: int
) -> None:
    """All layers: x (N, C) is changed; cache (L, 2, R, K, S', D); angles: cos and sin. The rest as in `attend`."""
    n, d = len(x), cache.shape[5]
    h, y = np.empty_like(x), np.empty_like(x)
    qkv = np.empty((n, w.qkv.step.shape[1]), np.float32)
    mixed = np.empty((n, (w.qkv.step.shape[1] // d - 2 * cache.shape[3]) * d), np.float32)
    qkv_by_head, mixed_by_head = qkv.reshape(n, -1, d), mixed.reshape(n, -1, d)
    both = np.empty((n, w.gate_up.step.shape[1]), np.float32)
    gated = np.empty((n, both.shape[1] // 2), np.float32)
    for i in range(len(w.attention_norm)):
        normalise(x, w.attention_norm[i], w.eps, h)
        multiply(h, w.qkv.numbers[i], w.qkv.step[i], w.qkv.bias[i], n_threads, qkv)
        keys, values, norm = cache[i, 0], cache[i, 1], w.qk_norm[i]
        attend(qkv_by_head, keys, values, first, starts, *angles, norm, w.eps, mixed_by_head)
        multiply(mixed, w.out.numbers[i], w.out.step[i], w.out.bias[i], n_threads, y)
        x += y
        normalise(x, w.mlp_norm[i], w.eps, h)
        multiply(h, w.gate_up.numbers[i], w.gate_up.step[i], w.gate_up.bias[i], n_threads, both)
        _gate(both, gated)
        multiply(gated, w.down.numbers[i], w.down.step[i], w.down.bias[i], n_threads, y)
        x += y
