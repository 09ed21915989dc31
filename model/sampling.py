"""From logits to the next token: temperature, top-k, top-p, one seed per sequence."""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.config import SamplingParams

# Odd numbers that scatter seed, position and token over 64 bits, and the two of SplitMix64's finalizer
# (Steele, Lea & Flood 2014, fig. 16; Stafford's variant 13).
_SEED, _POSITION, _TOKEN = 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03, 0xAEF17502108EF2D9
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


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
    logits = logits.float()
    logp = logits.log_softmax(-1)  # (B, V)
    n_tokens = logits.shape[1]
    kept = [1 if p.temperature == 0 else min(p.top_k or n_tokens, n_tokens) for p in params]
    values, ids = logits.topk(max(kept), dim=-1)  # (B, W), best first
    ranks = torch.arange(max(kept), device=logits.device)
    scaled = values / _column([p.temperature or 1.0 for p in params], logits)
    scaled = scaled.masked_fill(ranks >= _column(kept, logits), -torch.inf)
    if any(p.top_p < 1 for p in params):
        p = scaled.softmax(-1)
        before = p.cumsum(-1) - p  # the best has nothing before it, and always stays
        scaled = scaled.masked_fill(
            before >= _column([p.top_p for p in params], logits), -torch.inf
        )
    keys = [_signed(p.seed * _SEED + n * _POSITION) for p, n in zip(params, positions, strict=True)]
    best = (scaled + _gumbel(torch.tensor(keys, device=ids.device)[:, None], ids)).argmax(-1)
    tokens = ids.gather(1, best[:, None])  # (B, 1)
    return tokens[:, 0], logp.gather(1, tokens)[:, 0]


def _gumbel(keys: Tensor, ids: Tensor) -> Tensor:
    """Standard Gumbel noise for each token of each row: keys (B, 1), ids (B, W) -> (B, W) float64."""
    bits = keys + ids * _signed(_TOKEN)
    for shift, factor in zip((30, 27), _MIX, strict=True):
        bits = (bits ^ _right(bits, shift)) * _signed(factor)
    bits = bits ^ _right(bits, 31)
    uniform: Tensor = (_right(bits, 11).double() + 0.5) * 2.0**-53  # in (0, 1)
    return -uniform.log().neg().log()


def _right(bits: Tensor, n: int) -> Tensor:
    """Shifted right by n, with zeros from the left."""
    shifted: Tensor = (bits >> n) & (2 ** (64 - n) - 1)
    return shifted


def _signed(number: int) -> int:
    """The lowest 64 bits, as torch's int64 reads them."""
    return (number + 2**63) % 2**64 - 2**63


def _column(numbers: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(numbers, device=like.device)[:, None]
