"""Looking into a model: what it was really given, how likely it finds a text, what it would say next."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.checkpoint import Checkpoint
from model.errors import BadInput
from model.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class TokenView:
    """One token as a person can read it."""

    id: int
    text: str  # bytes that are no whole character are shown as <C3>
    is_special: bool


def view_tokens(tokenizer: Tokenizer, ids: Iterable[int]) -> list[TokenView]:
    """Every token of a sequence, readable."""
    special = tokenizer.special_ids
    return [TokenView(i, readable(tokenizer.decode_bytes([i])), i in special) for i in ids]


def readable(data: bytes) -> str:
    """Bytes as text; those that are no whole character as <C3>."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "".join(chr(byte) if byte < 128 else f"<{byte:02X}>" for byte in data)


@dataclass(frozen=True, slots=True)
class TokenScore:
    """How likely the network found one token of a text, and what else could have stood there."""

    id: int
    logp: float | None  # nats; none for the first token, which nothing precedes
    top: list[tuple[int, float]]  # (token, logp), most likely first


@torch.inference_mode()
def score_tokens(checkpoint: Checkpoint, ids: Sequence[int], top_k: int = 0) -> list[TokenScore]:
    """Each token of a text under the untouched distribution, with the `top_k` likeliest in its place."""
    logp = _logp(checkpoint, torch.tensor([list(ids)]))[0]  # (T, V)
    found = [TokenScore(ids[0], None, [])]
    values, tokens = logp[:-1].topk(top_k, dim=-1)  # (T - 1, k) twice
    for t, token in enumerate(ids[1:]):
        top = list(zip(tokens[t].tolist(), values[t].tolist(), strict=True))
        found.append(TokenScore(token, float(logp[t, token]), top))
    return found


@torch.inference_mode()
def next_tokens(checkpoint: Checkpoint, ids: Sequence[int], top_k: int) -> list[tuple[int, float]]:
    """The likeliest next tokens after a text: (token, logp), most likely first."""
    values, tokens = _logp(checkpoint, torch.tensor([list(ids)]))[0, -1].topk(top_k)
    return list(zip(tokens.tolist(), values.tolist(), strict=True))


@torch.inference_mode()
def completion_logps(
    checkpoint: Checkpoint, prompt_ids: Sequence[int], completions: Sequence[Sequence[int]]
) -> list[float]:
    """Log-probability in nats of each completion after one prompt, exactly, in one batched pass.

    A completion that another begins with ("7" and "73") wants its end token, or both count the longer one.
    """
    width = max(len(c) for c in completions)
    rows = [
        [*prompt_ids, *c, *[0] * (width - len(c))] for c in completions
    ]  # right of the end, unseen
    first = len(prompt_ids) - 1
    logp = _logp(checkpoint, torch.tensor(rows), first)  # (B, width + 1, V)
    return [
        sum(float(logp[row, t, token]) for t, token in enumerate(completion))
        for row, completion in enumerate(completions)
    ]


def _logp(checkpoint: Checkpoint, tokens: Tensor, first: int = 0) -> Tensor:
    """Log-probabilities of what follows each position from `first` on: (B, T - first, V)."""
    model = checkpoint.model
    if tokens.shape[1] > model.config.max_context:
        raise BadInput(
            f"{tokens.shape[1]} tokens do not fit a context of {model.config.max_context}."
        )
    hidden = model.hidden(tokens.to(model.embed_tokens.weight.device))[:, first:]
    return model.unembed(hidden).float().log_softmax(-1)
