"""From logits to the next token: temperature, top-k, top-p, one seed per sequence."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numba import prange
from torch import Tensor

from model.compiled import Array, compiled
from model.config import SamplingParams

# Odd numbers that scatter seed, position and token over 64 bits, and the two of SplitMix64's finalizer
# (Steele, Lea & Flood 2014, fig. 16; Stafford's variant 13).
_SEED, _POSITION, _TOKEN = 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03, np.uint64(0xAEF17502108EF2D9)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_27, _30, _31, _11 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(11)

MAX_INSERTED = 256  # best tokens that are found by insertion; for more, all are sorted


def sample(
    logits: Tensor, params: Sequence[SamplingParams], positions: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """The next token of each row and its log-probability under the untouched distribution: (B,) and (B,).

    logits     (B, V)
    params     how each row is drawn
    positions  how many tokens each row has drawn before

    The noise of a token depends on the row's seed, its position and the token, and on nothing else: a row is drawn alike
    in any batch. The largest of logit + Gumbel noise is a draw from the softmax (Gumbel 1954).
    """
    logits = logits.float().cpu().contiguous()
    keys = [
        (p.seed * _SEED + n * _POSITION) % 2**64 for p, n in zip(params, positions, strict=True)
    ]
    tokens = torch.empty(len(logits), dtype=torch.int64)
    _draw(
        logits.numpy(),
        np.array([p.temperature for p in params]),
        np.array([1 if p.temperature == 0 else p.top_k for p in params]),
        np.array([p.top_p for p in params]),
        np.array(keys, dtype=np.uint64),
        tokens.numpy(),
    )
    return tokens, logits.log_softmax(-1).gather(1, tokens[:, None])[:, 0]


@compiled(is_parallel=True)
def _draw(
    logits: Array, temperature: Array, top_k: Array, top_p: Array, keys: Array, tokens: Array
) -> None:
    """tokens (B,) of the rows (B, V), each drawn in its own way; top_k 0: of all."""
    for row in prange(len(logits)):
        n_all = logits.shape[1]
        n = min(top_k[row], n_all) if top_k[row] else n_all
        is_all = n == n_all and top_p[row] == 1  # of which no order is needed
        best = np.arange(n) if is_all else _best(logits[row], n)
        warmth = temperature[row] if temperature[row] else 1.0
        if top_p[row] < 1:
            best = best[: _n_within(logits[row], best, warmth, top_p[row])]
        # the loops may not count on infinities, nor a token on numbers
        tokens[row], top = best[0], -1e300
        for token in best:
            noisy = logits[row, token] / warmth + _gumbel(keys[row], token)
            if noisy > top:
                top, tokens[row] = noisy, token


@compiled()
def _best(logits: Array, n: int) -> Array:
    """The `n` likeliest of the tokens (V,), best first."""
    if n > MAX_INSERTED:
        return np.argsort(-logits)[:n]
    best = np.empty(n, np.int64)
    bar, n_found = np.float32(0), 0  # what a token must surpass once n are found
    for token in range(len(logits)):
        if n_found == n and logits[token] <= bar:
            continue
        place = min(n_found, n - 1)
        while place > 0 and logits[best[place - 1]] < logits[token]:
            best[place] = best[place - 1]
            place -= 1
        best[place] = token
        n_found = min(n_found + 1, n)
        bar = logits[best[n_found - 1]]
    return best


@compiled()
def _n_within(logits: Array, best: Array, temperature: float, top_p: float) -> int:
    """How many of the best, in their order, it takes to reach the share `top_p` of their probability."""
    total = 0.0
    for token in best:
        total += math.exp((logits[token] - logits[best[0]]) / temperature)
    n, reached = 0, 0.0
    while n < len(best) and reached < top_p * total:
        reached += math.exp((logits[best[n]] - logits[best[0]]) / temperature)
        n += 1
    return n


@compiled()
def _gumbel(key: int, token: int) -> float:
    """Standard Gumbel noise of a token."""
    bits = np.uint64(key) + np.uint64(token) * _TOKEN
    bits = (bits ^ (bits >> _30)) * _MIX_1
    bits = (bits ^ (bits >> _27)) * _MIX_2
    bits = bits ^ (bits >> _31)
    uniform = (np.float64(bits >> _11) + 0.5) * 2.0**-53  # in (0, 1)
    return -math.log(-math.log(uniform))
