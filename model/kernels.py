"""One decoding step in plain loops, compiled by Numba for the processor at hand when they first run, and kept on disk.

torch's operations are large; between small ones most of a step would be waiting. Here a step of few rows is one call:
weights of 8 bits, which arrive from memory four times as soon as float32, and nothing between the layers. For many rows
torch's matrix products are faster; what stands between them is here. All is computed in float32; keys and values are kept
in float16 or float32.

Shapes: N rows, C width, H heads, K of keys and values, D a head's width, F between gate and down, S positions.
"""

import math
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import prange, types
from numba.extending import intrinsic

Array = np.ndarray[Any, Any]

# the threads of torch, which waits for work awake, where both find the same OpenMP; else Numba's own
numba.config.THREADING_LAYER_PRIORITY = ["omp", "workqueue", "tbb"]  # type: ignore[attr-defined]

FAST = {"fastmath": True, "error_model": "numpy"}
# of what Numba can make parallel only the loops that say so: it compiles in half the time
PARALLEL = dict.fromkeys(
    ["comprehension", "reduction", "inplace_binop", "setitem", "numpy", "stencil", "fusion"], False
)


def use_torchs_threads() -> None:
    """As many as torch computes on in this thread."""
    n = torch.get_num_threads()
    numba.set_num_threads(min(n, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    if torch.get_num_threads() != n:  # Numba's first start takes all
        torch.set_num_threads(n)


def compiled(*, is_parallel: bool = False) -> Any:
    """Compiled at the first call; kept on disk where there is a place to."""

    def decorate(function: Any) -> Any:
        options: dict[str, Any] = dict(FAST)
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


wide: Any = intrinsic(_wide)


def _narrow(_context: Any, number: Any, like: Any) -> Any:
    """The opposite: a float32 as the cache keeps it, of which `like` is an element."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        if like == types.float32:
            return args[0]
        return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), ir.IntType(16))

    return like(number, like), generate


narrow: Any = intrinsic(_narrow)


@compiled()
def _sums(x: Array, weight: Array, o: int, p: int, y: Array) -> None:
    """y[:, o] and y[:, p] = x (N, I) times rows o and p of the weight (O, I).

    Two of its rows and up to four of x at a time: what is loaded is used more than once, and no sum waits for another.
    """
    n = np.uint64(0)
    while n + 4 <= len(x):
        a = b = c = d = e = f = g = h = np.float32(0)
        for i in range(weight.shape[1]):
            v, w = np.float32(weight[o, i]), np.float32(weight[p, i])
            a += x[n, i] * v
            b += x[n + 1, i] * v
            c += x[n + 2, i] * v
            d += x[n + 3, i] * v
            e += x[n, i] * w
            f += x[n + 1, i] * w
            g += x[n + 2, i] * w
            h += x[n + 3, i] * w
        y[n, o], y[n + 1, o], y[n + 2, o], y[n + 3, o] = a, b, c, d
        y[n, p], y[n + 1, p], y[n + 2, p], y[n + 3, p] = e, f, g, h
        n += np.uint64(4)
    if n + 2 <= len(x):
        a = b = e = f = np.float32(0)
        for i in range(weight.shape[1]):
            v, w = np.float32(weight[o, i]), np.float32(weight[p, i])
            a += x[n, i] * v
            b += x[n + 1, i] * v
            e += x[n, i] * w
            f += x[n + 1, i] * w
        y[n, o], y[n + 1, o] = a, b
        y[n, p], y[n + 1, p] = e, f
        n += np.uint64(2)
    if n < len(x):
        a = e = np.float32(0)
        for i in range(weight.shape[1]):
            a += x[n, i] * np.float32(weight[o, i])
            e += x[n, i] * np.float32(weight[p, i])
        y[n, o], y[n, p] = a, e


@compiled(is_parallel=True)
def multiply(x: Array, weight: Array, step: Array, bias: Array, y: Array) -> None:
    """y (N, O) = x (N, I) times the steps (O,) of 8-bit weights (O, I), plus the bias (O,)."""
    last = len(weight) - 1
    for pair in prange((len(weight) + 1) // 2):
        o, p = 2 * pair, min(2 * pair + 1, last)
        _sums(x, weight, o, p, y)
        for n in range(len(x)):
            y[n, o] = y[n, o] * step[o] + bias[o]
            if p > o:
                y[n, p] = y[n, p] * step[p] + bias[p]


@compiled(is_parallel=True)
def multiply_gated(x: Array, weight: Array, step: Array, both: Array, y: Array) -> None:
    """y (N, F) = silu(gate x) up x, with both weights (2 F, C) under each other; `both` (N, 2 F) is scratch."""
    f = y.shape[1]
    for o in prange(f):
        _sums(x, weight, o, f + o, both)
        for n in range(len(x)):
            gate, up = both[n, o] * step[o], both[n, f + o] * step[f + o]
            y[n, o] = gate / (np.float32(1) + math.exp(-gate)) * up


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
    top = np.float32(-1e30)
    for s in range(len(weights)):
        score = np.float32(0)
        for i in range(len(q)):
            score += q[i] * wide(keys[s, i])
        weights[s] = score / np.float32(math.sqrt(len(q)))
        top = max(top, weights[s])
    total = np.float32(0)
    for s in range(len(weights)):
        weights[s] = math.exp(weights[s] - top)
        total += weights[s]
    for i in range(len(mixed)):
        mixed[i] = 0
    for s in range(len(weights)):
        share = weights[s] / total
        for i in range(len(mixed)):
            mixed[i] += share * wide(values[s, i])


@compiled(is_parallel=True)
def attend(
    qkv: Array,
    keys: Array,
    values: Array,
    first: int,
    lengths: Array,
    cos: Array,
    sin: Array,
    qk_norm: Array,
    eps: float,
    mixed: Array,
) -> None:
    """One new position of each row: its key and value are kept, and its queries look at all that are.

    qkv      (N, H + 2 K, D) q, k and v, changed on the way
    keys     (R, K, S', D), and values: row `first` + n of them belongs to row n
    lengths  (N,) positions that were there before
    cos      (positions, D) of the angles of rotation, and sin
    qk_norm  (H + K, D), or (H + K, 0)
    mixed    (N, H, D) the result
    """
    n_heads, n_kv = mixed.shape[1], keys.shape[1]
    n_group = n_heads // n_kv
    for task in prange(len(qkv) * n_kv):
        n, head = task // n_kv, task % n_kv
        position = lengths[n]
        k, v = qkv[n, n_heads + head], qkv[n, n_heads + n_kv + head]
        own_keys, own_values = keys[first + n, head], values[first + n, head]
        _prepare(k, qk_norm[n_heads + head], eps, cos[position], sin[position])
        for i in range(len(k)):
            own_keys[position, i] = narrow(k[i], own_keys[position, i])
            own_values[position, i] = narrow(v[i], own_values[position, i])
        weights = np.empty(position + 1, np.float32)
        for one in range(head * n_group, (head + 1) * n_group):
            _prepare(qkv[n, one], qk_norm[one], eps, cos[position], sin[position])
            _look(qkv[n, one], own_keys, own_values, weights, mixed[n, one])


class EightBits(NamedTuple):
    """A matrix (O, I), or one of each layer, in whole numbers."""

    numbers: Array  # int8 (..., O, I)
    step: Array  # of each row (..., O)
    bias: Array  # (..., O) what is added, if only zeros

    @property
    def n_bytes(self) -> int:
        return int(sum(part.nbytes for part in self))


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
    x: Array, w: Weights, cache: Array, first: int, lengths: Array, cos: Array, sin: Array
) -> None:
    """All layers over one new position of each row: x (N, C) is changed; cache (L, 2, R, K, S', D). The rest as in `attend`."""
    n, d = len(x), cache.shape[5]
    h, y = np.empty_like(x), np.empty_like(x)
    qkv = np.empty((n, w.qkv.numbers.shape[1]), np.float32)
    mixed = np.empty((n, w.out.numbers.shape[2]), np.float32)
    qkv_by_head, mixed_by_head = qkv.reshape(n, -1, d), mixed.reshape(n, -1, d)
    both = np.empty((n, w.gate_up.numbers.shape[1]), np.float32)
    gated = np.empty((n, w.down.numbers.shape[2]), np.float32)
    for i in range(len(w.attention_norm)):
        for row in range(n):
            _normalise(x[row], w.attention_norm[i], w.eps, h[row])
        multiply(h, w.qkv.numbers[i], w.qkv.step[i], w.qkv.bias[i], qkv)
        keys, values, norm = cache[i, 0], cache[i, 1], w.qk_norm[i]
        attend(qkv_by_head, keys, values, first, lengths, cos, sin, norm, w.eps, mixed_by_head)
        multiply(mixed, w.out.numbers[i], w.out.step[i], w.out.bias[i], y)
        x += y
        for row in range(n):
            _normalise(x[row], w.mlp_norm[i], w.eps, h[row])
        multiply_gated(h, w.gate_up.numbers[i], w.gate_up.step[i], both, gated)
        multiply(gated, w.down.numbers[i], w.down.step[i], w.down.bias[i], y)
        x += y
