"""From logits to the next token: temperature, top-k, top-p, one seed per sequence."""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.config import SamplingParams


def sample(
    logits: Tensor, params: Sequence[SamplingParams], generators: Sequence[torch.Generator]
) -> tuple[Tensor, Tensor]:
    """The next token of each row and its log-probability under the untouched distribution: (B,) and (B,).

    logits      (B, V)
    params      how each row is drawn
    generators  each row's own, so that its draws do not depend on the rows beside it
    """
    logits = logits.float()
    logp = logits.log_softmax(-1)  # (B, V)
    width = max(p.top_k or logits.shape[1] for p in params)
    values, ids = logits.topk(min(width, logits.shape[1]), dim=-1)  # (B, W), best first
    chosen = [
        int(row_ids[0]) if p.temperature == 0 else int(row_ids[_draw(row, p, generator)])
        for row, row_ids, p, generator in zip(values, ids, params, generators, strict=True)
    ]
    tokens = torch.tensor(chosen, device=logits.device)
    return tokens, logp.gather(1, tokens[:, None])[:, 0]


def _draw(values: Tensor, params: SamplingParams, generator: torch.Generator) -> int:
    """Index into values (W,), logits best first, drawn by the exponential race of Efraimidis & Spirakis 2006.

    Noise is drawn for exactly the row's own candidates: the same seed gives the same draw in any batch.
    """
    n_candidates = min(params.top_k or len(values), len(values))
    p = (values[:n_candidates] / params.temperature).softmax(-1)
    if params.top_p < 1:
        before = p.cumsum(-1) - p
        p = p.masked_fill(before >= params.top_p, 0.0)
    noise = torch.empty(n_candidates).exponential_(generator=generator).to(p.device)
    return int((p / noise).argmax())
