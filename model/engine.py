"""Generation for many readers at once: sequences join and leave the running batch at every step.

One engine hosts several checkpoints; `step` moves each of them by one token. It belongs to one thread. A prompt that
many send at the same time is read once and its keys and values copied.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

import torch

from model.checkpoint import Checkpoint
from model.config import ModelConfig, SamplingParams
from model.decoder import Decoder
from model.errors import BadInput
from model.kv_cache import KVCache
from model.sampling import sample
from model.scheduler import Scheduler, Ticket
from model.stopping import StopTexts
from model.tokenizer import TextStream
from model.transformer import Transformer

FinishReason = Literal["stop", "length"]

MAX_ROWS = 128  # of each checkpoint that are written at the same time
MAX_CACHE_BYTES = 2**31  # of keys and values of a checkpoint; where rows are large, there are fewer
MAX_WAITING = 1024
MAX_PREFILL_TOKENS = 512  # read in one step beside the running rows
MAX_EXTRA = 6  # checkpoints loaded on demand, beside those that stay
MAX_EXTRA_BYTES = 2 * 2**30  # of their weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to continue, with which checkpoint, and how."""

    checkpoint: str
    prompt_ids: list[int]
    params: SamplingParams
    owner: str = ""  # who is served in turn with the other owners


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
    prompt: tuple[int, ...]
    stream: TextStream
    stopping: StopTexts
    max_tokens: int
    added_at: float  # seconds, perf_counter
    queue_ms: float | None = None
    n_tokens: int = 0
    next_id: int = -1
    read: torch.Tensor | None = None  # (C,) the state at the prompt's last position


@dataclass(slots=True)
class _Host:
    """One checkpoint with its running rows; `rows[i]` is row i of the cache."""

    checkpoint: Checkpoint
    decoder: Decoder
    cache: KVCache
    max_rows: int
    scheduler: Scheduler
    rows: list[_Sequence] = field(default_factory=list)
    waiting: dict[int, _Sequence] = field(default_factory=dict)  # by id


class Engine:
    """Continuous batching over hosted checkpoints."""

    def __init__(
        self,
        checkpoints: Mapping[str, Checkpoint],
        max_rows: int = MAX_ROWS,
        *,
        is_exact: bool = False,
        max_waiting: int = MAX_WAITING,
        max_prefill_tokens: int = MAX_PREFILL_TOKENS,
        on_demand: Mapping[str, Callable[[], Checkpoint]] | None = None,
        max_extra: int = MAX_EXTRA,
        max_extra_bytes: int = MAX_EXTRA_BYTES,
    ) -> None:
        """`checkpoints` stay; those `on_demand` are loaded when they are asked for, and the longest unused leave again.

        `is_exact`: in float32, also where the processor is faster with less.
        """
        self._max_rows, self._max_waiting, self._is_exact = max_rows, max_waiting, is_exact
        self._max_prefill_tokens = max_prefill_tokens
        self._hosts = {name: self._new_host(c) for name, c in checkpoints.items()}
        self._pinned = frozenset(checkpoints)
        self._on_demand = dict(on_demand or {})
        self._max_extra, self._max_extra_bytes = max_extra, max_extra_bytes
        self._n_added = 0

    def add(self, request: Request) -> int:
        """Queue a request; its id comes back in events. BadInput where the context has no room, QueueFull where too many wait."""
        host = self._host(request.checkpoint)
        room = host.checkpoint.model.config.max_context - len(request.prompt_ids)
        if room < 1 or not request.prompt_ids:
            raise BadInput(
                f"{len(request.prompt_ids)} tokens do not fit a context of "
                f"{host.checkpoint.model.config.max_context} with room for an answer."
            )
        sequence = _Sequence(
            self._n_added + 1,
            request,
            tuple(request.prompt_ids),
            host.checkpoint.tokenizer.stream(),
            StopTexts(request.params.stop),
            min(request.params.max_tokens, room),
            time.perf_counter(),
        )
        host.scheduler.add(Ticket(sequence.id, request.owner, sequence.prompt))
        host.waiting[sequence.id] = sequence
        self._n_added = sequence.id
        return sequence.id

    def open(self, name: str) -> Checkpoint:
        """A checkpoint by its name, loaded where it is not in memory; it counts as used just now."""
        return self._host(name).checkpoint

    @property
    def loaded(self) -> list[str]:
        """Names of the checkpoints that are in memory, the longest unused first."""
        return list(self._hosts)

    def _host(self, name: str) -> _Host:
        """A checkpoint's host, loaded where it is not here; marked as used just now."""
        host = self._hosts.pop(name, None)
        if host is None:
            if name not in self._on_demand:
                raise BadInput(f"There is no checkpoint called {name} here.")
            host = self._new_host(self._on_demand[name]())
        self._hosts[name] = host
        self._make_room(name)
        return host

    def _make_room(self, newest: str) -> None:
        """Drop extra checkpoints that nobody waits for, the longest unused first, until the rest fits."""
        extras = [n for n in self._hosts if n not in self._pinned]
        for name in [n for n in extras if n != newest]:
            n_bytes = sum(_bytes_of(self._hosts[n]) for n in extras)
            if len(extras) <= self._max_extra and n_bytes <= self._max_extra_bytes:
                return
            if not (self._hosts[name].rows or self._hosts[name].waiting):
                del self._hosts[name]
                extras.remove(name)

    def _new_host(self, checkpoint: Checkpoint) -> _Host:
        decoder = Decoder(checkpoint.model, is_exact=self._is_exact)
        cache = decoder.new_cache()
        return _Host(
            checkpoint,
            decoder,
            cache,
            max(1, min(self._max_rows, MAX_CACHE_BYTES // cache.bytes_per_row)),
            Scheduler(self._max_waiting, self._max_prefill_tokens),
        )

    @torch.inference_mode()
    def cancel(self, sequence_id: int) -> None:
        """Forget a sequence, running or waiting; its row is free at once. No event follows."""
        for host in self._hosts.values():
            if host.scheduler.cancel(sequence_id):
                del host.waiting[sequence_id]
                return
            for row, sequence in enumerate(host.rows):
                if sequence.id == sequence_id:
                    _free(host, row)
                    return

    def restart(self) -> None:
        """Forget all work after a failure, and make anew all but the weights as they were loaded."""
        kept = {n: host.checkpoint for n, host in self._hosts.items() if n in self._pinned}
        self._hosts = {name: self._new_host(checkpoint) for name, checkpoint in kept.items()}

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
            if host.waiting:
                n_free, read = host.max_rows - len(host.rows), {s.prompt for s in host.rows}
                admitted = host.scheduler.admit(n_free, read)
                if admitted:
                    events += self._prefill(host, [host.waiting.pop(i) for i in admitted])
        return events

    def _prefill(self, host: _Host, sequences: list[_Sequence]) -> list[Event]:
        """Prompts into free rows, and their first tokens. What a row that still runs has read is copied from it."""
        for sequence in sequences:
            sequence.queue_ms = (time.perf_counter() - sequence.added_at) * 1000
        sources = {s.prompt: row for row, s in enumerate(host.rows)}
        new = {s.prompt: s for s in reversed(sequences) if s.prompt not in sources}
        # the rows that read come first, side by side
        sequences = sorted(sequences, key=lambda s: new.get(s.prompt) is not s)
        first = len(host.rows)
        host.rows += sequences
        host.cache.append(len(sequences))
        if new:
            self._read(host, first, sequences[: len(new)])
        for row, sequence in enumerate(sequences, start=first):
            source = sources.setdefault(sequence.prompt, row)
            if source != row:
                host.cache.copy(source, row, len(sequence.prompt))
                sequence.read = host.rows[source].read
        return self._draw(host, first, torch.stack([s.read for s in sequences]))  # type: ignore[misc]

    def _read(self, host: _Host, first: int, sequences: list[_Sequence]) -> None:
        """The prompts of rows from `first` on, in one pass."""
        prompts, lengths = [s.prompt for s in sequences], [len(s.prompt) for s in sequences]
        width = max(lengths)
        tokens = torch.tensor([[*p, *[0] * (width - len(p))] for p in prompts])  # (U, T)
        here = host.cache.begin(first, len(prompts), width)
        hidden = host.decoder.hidden(tokens.to(host.decoder.device), host.cache, here)  # (U, T, C)
        # what stands behind a shorter prompt is overwritten later
        host.cache.advance(here, lengths)
        for sequence, states in zip(sequences, hidden, strict=True):
            sequence.read = states[len(sequence.prompt) - 1].clone()

    def _decode(self, host: _Host) -> list[Event]:
        """One more token for all running rows together."""
        tokens = torch.tensor([[s.next_id] for s in host.rows])  # (B, 1)
        here = host.cache.begin(0, len(host.rows), 1)
        hidden = host.decoder.hidden(tokens.to(host.decoder.device), host.cache, here)
        host.cache.advance(here, [1] * len(host.rows))
        return self._draw(host, 0, hidden[:, -1])

    def _draw(self, host: _Host, first: int, hidden: torch.Tensor) -> list[Event]:
        """One token for each row from `first` on, of which `hidden` (B, C) is the last state; free those that end."""
        n = len(hidden)
        chosen = host.rows[first : first + n]
        drawn, logps = sample(
            host.decoder.logits(hidden),
            [s.request.params for s in chosen],
            [s.n_tokens for s in chosen],
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
    is_end = token in host.checkpoint.end_ids and not sequence.request.params.ignores_end
    text, is_stopped = sequence.stopping.push("" if is_end else sequence.stream.push(token))
    is_cut = not is_end and not is_stopped and sequence.n_tokens >= sequence.max_tokens
    if is_end or is_cut:
        more, is_stopped = sequence.stopping.push(sequence.stream.finish())
        text += more if is_stopped else more + sequence.stopping.finish()
    return Event(
        sequence.id,
        text,
        token,
        logp,
        finish="stop" if is_end or is_stopped else "length" if is_cut else None,
        queue_ms=sequence.queue_ms if sequence.n_tokens == 1 else None,
    )


def _free(host: _Host, row: int) -> None:
    """Take a row out; the last row moves into its place."""
    last = host.cache.remove(row)
    host.rows[row] = host.rows[last]
    host.rows.pop()


def _bytes_of(host: _Host) -> int:
    """Of the weights, as they were loaded and as the decoder has them."""
    loaded = sum(p.numel() * p.element_size() for p in host.checkpoint.model.parameters())
    return loaded + host.decoder.n_bytes


@cache
def prepare() -> None:
    """Compile the kernels, or read them from disk: half a minute once on a processor, and else a second.

    Without it the first answers of a process would take that long.
    """
    config = ModelConfig(
        vocab_size=64, n_layers=1, width=32, n_heads=2, n_kv_heads=1, ffn_width=32, max_context=8
    )
    model = Transformer(config)
    with torch.inference_mode():
        for is_exact in (False, True):
            decoder = Decoder(model, is_exact=is_exact)
            kept = decoder.new_cache()
            kept.append(1)
            tokens = torch.zeros(1, 1, dtype=torch.int64)
            hidden = decoder.hidden(tokens, kept, kept.begin(0, 1, 1))
            sample(decoder.logits(hidden[:, 0]), [SamplingParams()], [0])
