"""Exchanges in the works: what each side has written so far, and who is told when there is more."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from app.tables import Envelope, Finish, Role, Side
from model.config import SamplingParams
from model.engine import Event
from model.worker import Ending

log = logging.getLogger(__name__)

# seconds between tries to save; after the last, the answer is lost and shown as failed
SAVE_DELAYS_S = (0.5, 1, 2, 4, 8)


class Reader(Protocol):
    """Who asked for a text, and is given it piece by piece in the event loop."""

    def receive(self, event: Event | Ending) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One answer that is to be written: everything that decides its text."""

    role: Role
    envelope: Envelope
    text: str
    prompt_ids: list[int]  # none where another server makes the envelope
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


@dataclass(frozen=True, slots=True)
class Asked:
    """What a visitor asked, known by the hash of the cookie, and how each side answers it."""

    cookie_hash: str
    text: str
    plans: dict[Side, Plan]


class Job:
    """An exchange in the works: what each side has written so far."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.asked: Asked | None = None  # where it is one visitor's
        self.results = {side: Result() for side in Side}
        self.saved: set[Side] = set()  # finished, and in the database or lost
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
ENDINGS: dict[Ending, Finish] = {
    "cancelled": Finish.CANCELLED,
    "failed": Finish.ERROR,
    "unreachable": Finish.UNREACHABLE,
    "timeout": Finish.TIMEOUT,
    "rubbish": Finish.RUBBISH,
}


class Keeper(Protocol):
    """Who lets work in the background come to its end, and gives a job's place back."""

    def keep(self, work: Coroutine[Any, Any, None]) -> None: ...

    def release(self, job: Job) -> None: ...


class Writer:
    """Puts what is written for one side of a job into it, and at its end into the database."""

    def __init__(self, keeper: Keeper, job: Job, side: Side, save: Save) -> None:
        self.keeper, self.job, self.side, self.save = keeper, job, side, save
        self.result = job.results[side]
        self.started = time.perf_counter()

    def receive(self, event: Event | Ending) -> None:
        if isinstance(event, str):
            self._finish(ENDINGS[event])
        else:
            self._write(event)
        self.job.notify()

    def _write(self, event: Event) -> None:
        result = self.result
        result.text += storable(event.text)
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
        self.keeper.keep(self._save())

    async def _save(self) -> None:
        for delay_s in SAVE_DELAYS_S:
            try:
                await self.save(self.side, self.result)
                break
            except Exception as error:  # locked, restarting, full: it may pass
                log.error("an answer could not be saved yet: %s", type(error).__name__)
                await asyncio.sleep(delay_s)
        else:
            self.result.text, self.result.finish = "", Finish.ERROR
        self.job.saved.add(self.side)
        if self.job.is_done:
            self.keeper.release(self.job)
        self.job.notify()


def storable(text: str) -> str:
    """The text without what no database keeps: NUL, and halves of surrogate pairs, which another server's JSON may hold."""
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return whole.replace("\x00", "\ufffd")


def _ms_since(start: float) -> float:
    return round((time.perf_counter() - start) * 1000, 1)
