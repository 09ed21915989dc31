"""The one place where the web meets the models.

A thread of its own runs the engine, so that no vote waits for a token. Each exchange in the works is a `Job`,
whose text grows in the event loop; any number of readers may watch it, come back to it, or leave.
"""

import asyncio
import logging
import queue
import secrets
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from app.errors import N_, Busy, Invalid
from app.tables import Envelope, Finish, Role, Side
from model.config import SamplingParams
from model.engine import Engine, Event, Request
from model.evaluate import prompt_ids
from model.inspect import TokenView, view_tokens
from model.pair import Pair
from model.transformer import count_parameters

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


@dataclass(slots=True)
class _Running:
    """A sequence of the engine and the side of the job that it writes."""

    job: Job
    side: Side
    save: Save
    started: float  # seconds, perf_counter


class GenerationService:
    """Takes plans, runs the engine in a thread, keeps the jobs."""

    def __init__(self, pair: Pair, *, max_jobs: int, leave_grace_s: float) -> None:
        self._checkpoints = {Role.BASE: pair.base, Role.TUNED: pair.tuned}
        self.engine = Engine({str(role): c for role, c in self._checkpoints.items()})
        self.max_jobs, self.leave_grace_s = max_jobs, leave_grace_s
        self.jobs: dict[str, Job] = {}
        self._running: dict[int, _Running] = {}  # by the engine's sequence id; the thread writes it
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """End the thread and save what was written."""
        self._inbox.put(None)
        await asyncio.to_thread(self._thread.join)
        for running in list(self._running.values()):
            self._finish(running, Finish.CANCELLED)
        await asyncio.gather(*self._tasks)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

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
        now = time.perf_counter()
        for side, plan in plans.items():
            running = _Running(job, side, save, now)
            request = Request(
                checkpoint=plan.role, prompt_ids=plan.prompt_ids, params=plan.params, owner=owner
            )
            self._inbox.put(lambda r=request, w=running: self._add(r, w))  # type: ignore[misc]
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
            self._inbox.put(lambda: self._cancel(job))

        job.leave_timer = self._loop.call_later(self.leave_grace_s, leave)

    # --- in the engine's thread ---

    def _run(self) -> None:
        while True:
            wait = not self.engine.has_work
            try:
                command = self._inbox.get(block=wait)
            except queue.Empty:
                self._step()
                continue
            if command is None:
                return
            command()

    def _step(self) -> None:
        try:
            events = self.engine.step()
        except Exception:
            log.exception("a step of the engine failed; its batch is dropped")
            self.engine.reset()
            failed = list(self._running.values())
            self._running.clear()
            self._loop.call_soon_threadsafe(self._fail, failed)
            return
        pairs = [(event, self._running[event.sequence_id]) for event in events]
        for event in events:
            if event.finish:
                del self._running[event.sequence_id]
        self._loop.call_soon_threadsafe(self._deliver, pairs)

    def _add(self, request: Request, running: _Running) -> None:
        try:
            self._running[self.engine.add(request)] = running
        except Exception:
            log.exception("a request could not be added to the engine")
            self._loop.call_soon_threadsafe(self._fail, [running])

    def _cancel(self, job: Job) -> None:
        for sequence_id, running in list(self._running.items()):
            if running.job is job:
                self.engine.cancel(sequence_id)
                del self._running[sequence_id]
                self._loop.call_soon_threadsafe(self._finish, running, Finish.CANCELLED)

    # --- in the event loop ---

    def _deliver(self, pairs: list[tuple[Event, _Running]]) -> None:
        for event, running in pairs:
            result = running.job.results[running.side]
            result.text += event.text.replace("\x00", "\ufffd")  # which no database keeps
            if event.token_id is not None and event.logp is not None:
                result.completion_ids.append(event.token_id)
                result.logps.append(round(event.logp, 4))
            if result.first_token_ms is None:
                result.first_token_ms = _ms_since(running.started)
                result.queue_ms = event.queue_ms
            if event.finish:
                self._finish(running, Finish(event.finish))
        for job in {id(running.job): running.job for _, running in pairs}.values():
            job.notify()

    def _fail(self, failed: list[_Running]) -> None:
        for running in failed:
            self._finish(running, Finish.ERROR)

    def _finish(self, running: _Running, finish: Finish) -> None:
        result = running.job.results[running.side]
        result.finish = finish
        result.total_ms = _ms_since(running.started)
        task = self._loop.create_task(self._save(running, result))
        self._tasks.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._tasks.discard)

    async def _save(self, running: _Running, result: Result) -> None:
        job = running.job
        for delay_s in SAVE_DELAYS_S:
            try:
                await running.save(running.side, result)
                break
            except Exception as error:  # locked, restarting, full: it may pass
                log.error("an answer could not be saved yet: %s", type(error).__name__)
                await asyncio.sleep(delay_s)
        job.saved.add(running.side)
        if job.is_done:
            self.release(job)
        job.notify()


def genre_shares(sources: list[dict[str, Any]]) -> dict[str, float]:
    """Each genre's share of the tokens of a corpus, largest first."""
    tokens: Counter[str] = Counter()
    for source in sources:
        tokens[source["genre"]] += source["n_tokens"]
    return {genre: n / tokens.total() for genre, n in tokens.most_common() if n}


def _ms_since(start: float) -> float:
    return round((time.perf_counter() - start) * 1000, 1)
