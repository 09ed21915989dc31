"""The one place where the web meets the models.

An engine in a thread of its own writes the answers. Each exchange in the works is a `Job`, whose text grows in the
event loop; any number of readers may watch it, come back to it, or leave.
"""

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from app.errors import N_, Busy, Invalid
from app.tables import Envelope, Finish, Role, Side
from model.checkpoint import Checkpoint
from model.config import SamplingParams
from model.engine import Engine, Event, Request
from model.evaluate import prompt_ids
from model.inspect import TokenView, view_tokens
from model.pair import Pair
from model.transformer import count_parameters
from model.worker import Ending, EngineThread

log = logging.getLogger(__name__)

MAX_ANSWER_TOKENS = 64
SAVE_DELAYS_S = (
    0.5,
    1,
    2,
    4,
    8,
)  # between tries; after the last, the answer is lost and shown as failed
MIN_ANSWER_TOKENS = 16  # room for an answer that a prompt must leave in the context


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFacts:
    """What the pages and the database say of a hosted checkpoint."""

    role: Role
    sha256: str
    n_parameters: int
    tokens_seen: int  # in pretraining
    n_conversations: int  # read in fine-tuning
    n_sources: int  # texts of the pretraining corpus; 0 where its record does not say
    genre_shares: dict[str, float]  # of a pass over that corpus, largest first
    recipe: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One answer that is to be written: everything that decides its text."""

    role: Role
    envelope: Envelope
    prompt_ids: list[int]
    params: SamplingParams


@dataclass(slots=True)
class Result:
    """One answer, being written or finished."""

    text: str = ""
    completion_ids: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)
    finish: Finish | None = None
    queue_ms: float | None = None
    first_token_ms: float | None = None
    total_ms: float | None = None


class Job:
    """An exchange in the works: what each side has written so far."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.results = {side: Result() for side in Side}
        self.saved: set[Side] = set()  # finished, and in the database
        self.writers: list[Reader] = []
        self.n_watchers = 0
        self.leave_timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()

    @property
    def is_done(self) -> bool:
        return len(self.saved) == len(Side)

    def notify(self) -> None:
        """Wake everyone who waits in `changed`."""
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def change(self) -> asyncio.Event:
        """Set when there is something new. Take it, then look at the job, then wait for it."""
        return self._changed

    async def done(self) -> None:
        while not self.is_done:
            await self.change.wait()


Save = Callable[[Side, Result], Awaitable[None]]


class Reader(Protocol):
    """Who asked the engine for a text, and is given it piece by piece in the event loop."""

    def receive(self, event: Event | Ending) -> None: ...


class GenerationService:
    """Takes plans, runs the engine in a thread, keeps the jobs."""

    def __init__(self, pair: Pair, *, max_jobs: int, leave_grace_s: float) -> None:
        self._checkpoints = {Role.BASE: pair.base, Role.TUNED: pair.tuned}
        self.engine = Engine({str(role): c for role, c in self._checkpoints.items()})
        self.max_jobs, self.leave_grace_s = max_jobs, leave_grace_s
        self.jobs: dict[str, Job] = {}
        self.worker: EngineThread[Reader] = EngineThread(self.engine, self._deliver)
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.worker.start()

    async def stop(self) -> None:
        """End the thread and save what was written."""
        await asyncio.to_thread(self.worker.stop)
        await asyncio.sleep(0)  # what it delivered last arrives
        await asyncio.gather(*self._tasks)

    @property
    def is_alive(self) -> bool:
        return self.worker.is_alive

    def facts(self) -> list[CheckpointFacts]:
        base = self._checkpoints[Role.BASE].record
        sources = base.data.get("sources", [])
        return [
            CheckpointFacts(
                role=role,
                sha256=c.sha256,
                n_parameters=count_parameters(c.model),
                tokens_seen=base.tokens_seen,
                n_conversations=c.record.data.get("conversations_trained", 0),
                n_sources=len(sources),
                genre_shares=genre_shares(sources),
                recipe={
                    "stage": c.record.stage,
                    "steps": c.record.steps,
                    "finished": c.record.finished,
                    "parent_sha256": c.record.parent_sha256,
                    "data": c.record.data,
                    "config": c.record.config,
                },
            )
            for role, c in self._checkpoints.items()
        ]

    def plan(self, text: str) -> list[Plan]:
        """One plan for each checkpoint; Invalid where the text does not fit its context."""
        plans = []
        for role, checkpoint in self._checkpoints.items():
            ids = prompt_ids(checkpoint, text)
            room = checkpoint.model.config.max_context - MIN_ANSWER_TOKENS
            if len(ids) > room:
                raise Invalid(
                    N_(
                        "Este texto virou %(n)s tokens, e o modelo só lê %(room)s de uma vez. "
                        "Encurte-o: emojis e palavras raras gastam muitos tokens."
                    ),
                    n=len(ids),
                    room=room,
                )
            plans.append(
                Plan(
                    role=role,
                    envelope=Envelope(checkpoint.envelope),
                    prompt_ids=ids,
                    params=SamplingParams(
                        max_tokens=MAX_ANSWER_TOKENS, seed=secrets.randbelow(2**31)
                    ),
                )
            )
        return plans

    def checkpoint(self, name: str) -> Checkpoint | None:
        """A hosted checkpoint by its role's name."""
        return next((c for role, c in self._checkpoints.items() if role == name), None)

    def view_prompt(self, sha256: str, ids: list[int]) -> list[TokenView]:
        """A prompt as the network read it, token by token; nothing where that network is not hosted now."""
        for checkpoint in self._checkpoints.values():
            if checkpoint.sha256 == sha256:
                return view_tokens(checkpoint.tokenizer, ids)
        return []

    def reserve(self, key: str) -> Job:
        """A place for an exchange; Busy where as many are in the works as may be."""
        if len(self.jobs) >= self.max_jobs or not self.is_alive:
            raise Busy(N_("A sala está cheia: tente de novo em %(seconds)s s."), retry_after_s=5)
        job = self.jobs[key] = Job(key)
        return job

    def release(self, job: Job) -> None:
        """Give the place back."""
        self.jobs.pop(job.key, None)

    def submit(self, job: Job, plans: dict[Side, Plan], save: Save, *, owner: str) -> None:
        """Start writing both sides; `save` is called for each, whatever happens. Owners are served in turn."""
        for side, plan in plans.items():
            writer = _Writer(self, job, side, save)
            job.writers.append(writer)
            self.worker.submit(
                writer,
                Request(
                    checkpoint=plan.role,
                    prompt_ids=plan.prompt_ids,
                    params=plan.params,
                    owner=owner,
                ),
            )
        self._expect_reader(job)

    @contextmanager
    def watching(self, job: Job) -> Iterator[None]:
        """One reader more; when the last has gone and none comes in time, the rest is not written."""
        job.n_watchers += 1
        if job.leave_timer:
            job.leave_timer.cancel()
        try:
            yield
        finally:
            job.n_watchers -= 1
            if job.n_watchers == 0:
                self._expect_reader(job)

    def _expect_reader(self, job: Job) -> None:
        def leave() -> None:
            for writer in job.writers:
                self.worker.cancel(writer)

        job.leave_timer = self._loop.call_later(self.leave_grace_s, leave)

    def _deliver(self, pairs: list[tuple[Reader, Event | Ending]]) -> None:
        """In the engine's thread: what a step wrote goes to the event loop, all at once."""

        def hand_out() -> None:
            for reader, event in pairs:
                reader.receive(event)

        self._loop.call_soon_threadsafe(hand_out)

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something in the background that must be done before the service stops."""
        task = self._loop.create_task(work)
        self._tasks.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._tasks.discard)


class _Writer:
    """Puts what the engine writes for one side of a job into it, and at its end into the database."""

    def __init__(self, service: GenerationService, job: Job, side: Side, save: Save) -> None:
        self.service, self.job, self.side, self.save = service, job, side, save
        self.result = job.results[side]
        self.started = time.perf_counter()

    def receive(self, event: Event | Ending) -> None:
        if isinstance(event, str):
            self._finish(Finish.CANCELLED if event == "cancelled" else Finish.ERROR)
        else:
            self._write(event)
        self.job.notify()

    def _write(self, event: Event) -> None:
        result = self.result
        result.text += event.text.replace("\x00", "\ufffd")  # which no database keeps
        if event.token_id is not None and event.logp is not None:
            result.completion_ids.append(event.token_id)
            result.logps.append(round(event.logp, 4))
        if result.first_token_ms is None:
            result.first_token_ms = _ms_since(self.started)
            result.queue_ms = event.queue_ms
        if event.finish:
            self._finish(Finish(event.finish))

    def _finish(self, finish: Finish) -> None:
        self.result.finish = finish
        self.result.total_ms = _ms_since(self.started)
        self.service.keep(self._save())

    async def _save(self) -> None:
        for delay_s in SAVE_DELAYS_S:
            try:
                await self.save(self.side, self.result)
                break
            except Exception as error:  # locked, restarting, full: it may pass
                log.error("an answer could not be saved yet: %s", type(error).__name__)
                await asyncio.sleep(delay_s)
        self.job.saved.add(self.side)
        if self.job.is_done:
            self.service.release(self.job)
        self.job.notify()


def genre_shares(sources: list[dict[str, Any]]) -> dict[str, float]:
    """Each genre's share of the tokens of a corpus, largest first."""
    tokens: Counter[str] = Counter()
    for source in sources:
        tokens[source["genre"]] += source["n_tokens"]
    return {genre: n / tokens.total() for genre, n in tokens.most_common() if n}


def _ms_since(start: float) -> float:
    return round((time.perf_counter() - start) * 1000, 1)
