"""Generation for many readers at once: sequences join and leave the running batch at every step.

One engine hosts several checkpoints; `step` moves each of them by one token. It belongs to one thread.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from model.checkpoint import Checkpoint
from model.config import SamplingParams
from model.errors import BadInput
from model.kv_cache import KVCache
from model.sampling import sample
from model.tokenizer import TextStream

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to continue, with which checkpoint, and how."""

    checkpoint: str
    prompt_ids: list[int]
    params: SamplingParams


@dataclass(frozen=True, slots=True)
class Event:
    """One step of one sequence: new text, and at its end why it ended."""

    sequence_id: int
    text: str
    token_id: int | None = None
    logp: float | None = None  # nats
    finish: FinishReason | None = None
    queue_ms: float | None = None  # with the first token: how long the request waited for a row


@dataclass(slots=True)
class _Sequence:
    id: int
    request: Request
    generator: torch.Generator
    stream: TextStream
    max_tokens: int
    added_at: float  # seconds, perf_counter
    queue_ms: float | None = None
    n_tokens: int = 0
    next_id: int = -1


@dataclass(slots=True)
class _Host:
    """One checkpoint with its running rows; `rows[i]` is row i of the cache."""

    checkpoint: Checkpoint
    cache: KVCache
    max_rows: int
    rows: list[_Sequence] = field(default_factory=list)
    waiting: deque[_Sequence] = field(default_factory=deque)


class Engine:
    """Continuous batching over hosted checkpoints."""

    def __init__(self, checkpoints: Mapping[str, Checkpoint], max_rows: int = 32) -> None:
        self._hosts = {
            name: _Host(c, _cache_for(c, max_rows), max_rows) for name, c in checkpoints.items()
        }
        self._n_added = 0

    def add(self, request: Request) -> int:
        """Queue a request; its id comes back in events. BadInput where the context has no room."""
        host = self._hosts[request.checkpoint]
        room = host.checkpoint.model.config.max_context - len(request.prompt_ids)
        if room < 1 or not request.prompt_ids:
            raise BadInput(
                f"{len(request.prompt_ids)} tokens do not fit a context of "
                f"{host.checkpoint.model.config.max_context} with room for an answer."
            )
        self._n_added += 1
        host.waiting.append(
            _Sequence(
                self._n_added,
                request,
                torch.Generator().manual_seed(request.params.seed),
                host.checkpoint.tokenizer.stream(),
                min(request.params.max_tokens, room),
                time.perf_counter(),
            )
        )
        return self._n_added

    def cancel(self, sequence_id: int) -> None:
        """Forget a sequence, running or waiting; its row is free at once. No event follows."""
        for host in self._hosts.values():
            for sequence in host.waiting:
                if sequence.id == sequence_id:
                    host.waiting.remove(sequence)
                    return
            for row, sequence in enumerate(host.rows):
                if sequence.id == sequence_id:
                    _free(host, row)
                    return

    def reset(self) -> None:
        """Forget everything, after a step that failed."""
        for host in self._hosts.values():
            host.rows.clear()
            host.waiting.clear()
            host.cache.clear()

    @property
    def has_work(self) -> bool:
        return any(host.rows or host.waiting for host in self._hosts.values())

    @property
    def n_running(self) -> int:
        return sum(len(host.rows) for host in self._hosts.values())

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """One token for every running sequence of every checkpoint; waiting ones join where there is room."""
        events: list[Event] = []
        for host in self._hosts.values():
            if host.rows:
                events += self._decode(host)
            while host.waiting and len(host.rows) < host.max_rows:
                events += self._prefill(host, host.waiting.popleft())
        return events

    def _prefill(self, host: _Host, sequence: _Sequence) -> list[Event]:
        """Read a prompt into a free row and draw the first token."""
        sequence.queue_ms = (time.perf_counter() - sequence.added_at) * 1000
        row = len(host.rows)
        host.rows.append(sequence)
        host.cache.n_rows = len(host.rows)
        return self._advance(host, row, torch.tensor([sequence.request.prompt_ids]))

    def _decode(self, host: _Host) -> list[Event]:
        """One more token for all running rows together."""
        return self._advance(host, 0, torch.tensor([[s.next_id] for s in host.rows]))

    def _advance(self, host: _Host, first: int, tokens: torch.Tensor) -> list[Event]:
        """Run tokens (B, T) through the rows from `first` on, draw one token each, free those that end."""
        n, n_new = tokens.shape
        model, cache = host.checkpoint.model, host.cache
        cache.select(first, n)
        hidden = model.hidden(tokens.to(cache.keys.device), cache)  # (B, T, C)
        cache.advance(n_new)
        chosen = host.rows[first : first + n]
        drawn, logps = sample(
            model.unembed(hidden[:, -1]),
            [s.request.params for s in chosen],
            [s.generator for s in chosen],
        )
        events = [
            _event(host, sequence, token, logp)
            for sequence, token, logp in zip(chosen, drawn.tolist(), logps.tolist(), strict=True)
        ]
        for row in reversed(range(n)):
            if events[row].finish:
                _free(host, first + row)
        return events


def generate(engine: Engine, requests: Sequence[Request]) -> list[list[Event]]:
    """Run requests to their end; the events of each, in the order of the requests."""
    ids = [engine.add(request) for request in requests]
    events: dict[int, list[Event]] = {i: [] for i in ids}
    while engine.has_work:
        for event in engine.step():
            events[event.sequence_id].append(event)
    return [events[i] for i in ids]


def _event(host: _Host, sequence: _Sequence, token: int, logp: float) -> Event:
    """What one drawn token means for its reader."""
    sequence.n_tokens += 1
    sequence.next_id = token
    is_end = token in host.checkpoint.end_ids
    is_cut = not is_end and sequence.n_tokens >= sequence.max_tokens
    text = "" if is_end else sequence.stream.push(token)
    return Event(
        sequence.id,
        text + sequence.stream.finish() if is_end or is_cut else text,
        token,
        logp,
        finish="stop" if is_end else "length" if is_cut else None,
        queue_ms=sequence.queue_ms if sequence.n_tokens == 1 else None,
    )


def _free(host: _Host, row: int) -> None:
    """Take a row out; the last row moves into its place."""
    last = host.cache.remove(row)
    host.rows[row] = host.rows[last]
    host.rows.pop()


def _cache_for(checkpoint: Checkpoint, max_rows: int) -> KVCache:
    weight = checkpoint.model.embed_tokens.weight
    return KVCache(checkpoint.model.config, max_rows, weight.dtype, weight.device)
