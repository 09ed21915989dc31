"""The one place where the web meets the models.

An engine in a thread of its own writes the answers. Each exchange in the works is a `Job`, whose text grows in the
event loop; any number of readers may watch it, come back to it, or leave.
"""

import asyncio
import secrets
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from app.errors import N_, Busy, Invalid
from app.services.facts import Source, facts_of
from app.services.jobs import Job, Plan, Reader, Save, Writer
from app.tables import Envelope, Role, Side
from model.checkpoint import Checkpoint, load_checkpoint
from model.config import SamplingParams
from model.device import CORES
from model.engine import MAX_EXTRA_BYTES, Engine, Event, Request
from model.evaluate import prompt_ids
from model.inspect import TokenView, view_tokens
from model.remote import RemoteCalls, RemoteModel
from model.worker import Ending, EngineThread

MAX_ANSWER_TOKENS = 64
MIN_ANSWER_TOKENS = 16  # room for an answer that a prompt must leave in the context


class GenerationService:
    """Takes plans, runs the engine in a thread, keeps the jobs."""

    def __init__(
        self,
        sources: Mapping[Role, Source],
        *,
        max_jobs: int,
        leave_grace_s: float,
        is_exact: bool = False,
        n_cores: int = 0,
        more: Mapping[str, Path] | None = None,
        max_more_bytes: int = MAX_EXTRA_BYTES,
    ) -> None:
        """`n_cores`: cores that the embedded models may use; 0: all. `more`: folders that are read when asked for."""
        self._sources = sources
        self.facts = [facts_of(role, sources[role], sources[Role.BASE]) for role in Role]
        self._checkpoints = {r: s for r, s in sources.items() if isinstance(s, Checkpoint)}
        checkpoints = {str(role): c for role, c in self._checkpoints.items()}
        self._more = dict(more or {})
        self._fresh: dict[str, Checkpoint] = {}  # read, and not yet in the engine
        self._opening = asyncio.Lock()  # one is read at a time
        self.engine = Engine(
            checkpoints,
            is_exact=is_exact,
            on_demand={name: partial(self._load, name) for name in self._more},
            max_extra_bytes=max_more_bytes,
        )
        self.max_jobs, self.leave_grace_s = max_jobs, leave_grace_s
        self.jobs: dict[str, Job] = {}
        self.worker: EngineThread[Reader] = EngineThread(
            self.engine, self._deliver, n_cores or CORES
        )
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._remote: RemoteCalls[Reader] = RemoteCalls(hand_out)
        self.worker.start()

    async def stop(self) -> None:
        """End the thread and save what was written."""
        await self._remote.stop()
        await asyncio.to_thread(self.worker.stop)
        await asyncio.sleep(0)  # what it delivered last arrives
        await asyncio.gather(*self._tasks)

    @property
    def is_alive(self) -> bool:
        return self.worker.is_alive

    def plan(self, text: str) -> list[Plan]:
        """One plan for each checkpoint; Invalid where the text does not fit its context."""
        return [self._plan(role, source, text) for role, source in self._sources.items()]

    def _plan(self, role: Role, source: Source, text: str) -> Plan:
        ids: list[int] = []
        if isinstance(source, Checkpoint):
            ids = prompt_ids(source, text)
            room = source.model.config.max_context - MIN_ANSWER_TOKENS
            if len(ids) > room:
                raise Invalid(
                    N_(
                        "Este texto virou %(n)s tokens, e o modelo só lê %(room)s de uma vez. "
                        "Encurte-o: emojis e palavras raras gastam muitos tokens."
                    ),
                    n=len(ids),
                    room=room,
                )
        return Plan(
            role=role,
            envelope=Envelope(source.envelope),
            text=text,
            prompt_ids=ids,
            params=SamplingParams(max_tokens=MAX_ANSWER_TOKENS, seed=secrets.randbelow(2**31)),
        )

    @property
    def names(self) -> list[str]:
        """What can be asked for by name: the two sides, and what is read on demand."""
        return [*(role.value for role in Role), *self._more]

    async def open(self, name: str) -> Checkpoint | None:
        """A checkpoint by its name, read where it is not in memory: beside the engine, so that nobody waits for it."""
        if name not in self._more:
            return next((c for role, c in self._checkpoints.items() if role == name), None)
        async with self._opening:
            try:
                if name not in self.engine.loaded:
                    self._fresh[name] = await asyncio.to_thread(load_checkpoint, self._more[name])
                opened = self.worker.call(lambda: self.engine.open(name))
                return await asyncio.wrap_future(opened)
            finally:
                self._fresh.pop(name, None)

    def _load(self, name: str) -> Checkpoint:
        """In the engine's thread: what was just read, or where it had to leave before its turn came, what is on the disk."""
        return self._fresh.pop(name, None) or load_checkpoint(self._more[name])

    def view_prompt(self, sha256: str, ids: list[int]) -> list[TokenView]:
        """A prompt as the network read it, token by token; nothing where that network is not hosted now."""
        for checkpoint in self._checkpoints.values():
            if checkpoint.sha256 == sha256:
                return view_tokens(checkpoint.tokenizer, ids)
        return []

    def reserve(self, key: str) -> Job:
        """A place for an exchange; Busy where as many are in the works as may be, or nobody works."""
        if not self.is_alive:
            raise Busy(
                N_(
                    "O motor que escreve as respostas parou e está sendo religado: "
                    "tente de novo em %(seconds)s s."
                ),
                retry_after_s=3,
            )
        if len(self.jobs) >= self.max_jobs:
            raise Busy(N_("A sala está cheia: tente de novo em %(seconds)s s."), retry_after_s=5)
        job = self.jobs[key] = Job(key)
        return job

    def release(self, job: Job) -> None:
        """Give the place back."""
        self.jobs.pop(job.key, None)

    def submit(self, job: Job, plans: dict[Side, Plan], save: Save, *, owner: str) -> None:
        """Start writing both sides; `save` is called for each, whatever happens. Owners are served in turn."""
        for side, plan in plans.items():
            writer = Writer(self, job, side, save)
            job.writers.append(writer)
            self.submit_one(writer, plan, owner=owner)
        self._expect_reader(job)

    def submit_one(self, reader: Reader, plan: Plan, *, owner: str) -> None:
        """Start writing one text, outside of any job."""
        source = self._sources[plan.role]
        if isinstance(source, RemoteModel):
            self._remote.submit(reader, source, plan.text, plan.params)
            return
        request = Request(
            checkpoint=plan.role, prompt_ids=plan.prompt_ids, params=plan.params, owner=owner
        )
        self.worker.submit(reader, request)

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
                self._remote.cancel(writer)

        job.leave_timer = self._loop.call_later(self.leave_grace_s, leave)

    def _deliver(self, pairs: list[tuple[Reader, Event | Ending]]) -> None:
        """In the engine's thread: what a step wrote goes to the event loop, all at once."""
        self._loop.call_soon_threadsafe(hand_out, pairs)

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something in the background that must be done before the service stops."""
        task = self._loop.create_task(work)
        self._tasks.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._tasks.discard)


def hand_out(pairs: list[tuple[Reader, Event | Ending]]) -> None:
    """In the event loop: each reader gets its own."""
    for reader, event in pairs:
        reader.receive(event)
