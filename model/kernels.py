"""The network on a processor, in plain loops that Numba compiles for it when they first run, and keeps on disk.

torch's operations are large; between small ones most of a step would be waiting. Here a pass is one call. Weights are
whole numbers of 8 bits with one step for each row of them, the inputs of a product whole numbers of 16 bits or a little
less with one step for each of its rows; their products are summed without an error, so that a row is what it is whatever
stands beside it. All between the products is float32; keys and values are kept in float16 or float32.

Shapes: B rows of T positions, N = B T, C width, H heads, K of keys and values, D a head's width, F between gate and down,
S positions.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import prange

from model.compiled import (
    COLUMNS,
    Array,
    block_of_one,
    block_of_two,
    compiled,
    narrow,
    power_of_two,
    wide,
)

LARGEST_NUMBER, LARGEST_WEIGHT, LARGEST_SUM = 2**15 - 1, 127, 2**31 - 1
ROWS_AT_ONCE, COLUMNS_AT_ONCE = 64, 16  # of a product: so many stay in the nearest cache
HALF, LOG2_E, LN_2 = np.float32(0.5), np.float32(math.log2(math.e)), np.float32(math.log(2))
LEAST_POWER, GREATEST_POWER = np.float32(-126), np.float32(127)
TAYLOR = tuple(np.float32(1 / math.factorial(n)) for n in range(7))


class EightBits(NamedTuple):
    """A matrix (O, I), or one of each layer, in whole numbers. O is 4 or more."""

    numbers: Array  # int8 (..., O, I'), filled up with zeros to a multiple of 16
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
def multiply(x: Array, weight: Array, step: Array, bias: Array, y: Array) -> None:
    """y (N, O) = x (N, I) times the rows of `EightBits`, plus the bias (O,)."""
    n_rows, n_columns = len(x), len(weight)
    numbers = np.empty((n_rows, weight.shape[1]), np.int16)
    x_step = np.empty(n_rows, np.float32)
    # so that no sum overflows
    largest = np.float32(min(LARGEST_NUMBER, LARGEST_SUM // (LARGEST_WEIGHT * x.shape[1])))
    for n in prange(n_rows):
        x_step[n] = _round(x[n], largest, numbers[n])
    n_groups = (n_columns + COLUMNS_AT_ONCE - 1) // COLUMNS_AT_ONCE
    for task in prange((n_rows + ROWS_AT_ONCE - 1) // ROWS_AT_ONCE * n_groups):
        first_row, first_column = task // n_groups * ROWS_AT_ONCE, task % n_groups * COLUMNS_AT_ONCE
        end_row = min(first_row + ROWS_AT_ONCE, n_rows)
        end_column = min(first_column + COLUMNS_AT_ONCE, n_columns)
        for n in range(first_row, end_row, 2):
            for column in range(first_column, end_column, COLUMNS):
                o = min(column, n_columns - COLUMNS)  # the last four may be written twice
                if n + 1 < end_row:
                    block_of_two(numbers, x_step, n, weight, step, bias, o, y)
                else:
                    block_of_one(numbers, x_step, n, weight, step, bias, o, y)


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
    x: Array, w: Weights, cache: Array, first: int, starts: Array, cos: Array, sin: Array
) -> None:
    """All layers: x (N, C) is changed; cache (L, 2, R, K, S', D). The rest as in `attend`."""
    n, d = len(x), cache.shape[5]
    h, y = np.empty_like(x), np.empty_like(x)
    qkv = np.empty((n, w.qkv.step.shape[1]), np.float32)
    mixed = np.empty((n, (w.qkv.step.shape[1] // d - 2 * cache.shape[3]) * d), np.float32)
    qkv_by_head, mixed_by_head = qkv.reshape(n, -1, d), mixed.reshape(n, -1, d)
    both = np.empty((n, w.gate_up.step.shape[1]), np.float32)
    gated = np.empty((n, both.shape[1] // 2), np.float32)
    for i in range(len(w.attention_norm)):
        normalise(x, w.attention_norm[i], w.eps, h)
        multiply(h, w.qkv.numbers[i], w.qkv.step[i], w.qkv.bias[i], qkv)
        keys, values, norm = cache[i, 0], cache[i, 1], w.qk_norm[i]
        attend(qkv_by_head, keys, values, first, starts, cos, sin, norm, w.eps, mixed_by_head)
        multiply(mixed, w.out.numbers[i], w.out.step[i], w.out.bias[i], y)
        x += y
        normalise(x, w.mlp_norm[i], w.eps, h)
        multiply(h, w.gate_up.numbers[i], w.gate_up.step[i], w.gate_up.bias[i], both)
        _gate(both, gated)
        multiply(gated, w.down.numbers[i], w.down.step[i], w.down.bias[i], y)
        x += y
