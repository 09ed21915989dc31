"""What the models write for a round: one answer each for all to see, and many short ones for the picture."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from sqlalchemy import delete, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, joinedload

from app.db import Database
from app.events import phase_topic, room_topic, touch
from app.services import exchanges
from app.services.exchanges import End
from app.services.generation import GenerationService
from app.services.jobs import SAVE_DELAYS_S, Job, Plan, Result, storable
from app.tables import (
    AnswerKind,
    Finish,
    Generation,
    Phase,
    Role,
    Room,
    Round,
    SampleBatch,
    Side,
    now,
)
from model.engine import Event
from model.worker import Ending

log = logging.getLogger(__name__)

RESUME_EVERY_S = 15.0
SAMPLE_TOKENS = {AnswerKind.NUMBER: 16, AnswerKind.WORDS: 24, AnswerKind.LIST: 32}
SIDE_OF = {Role.BASE: Side.LEFT, Role.TUNED: Side.RIGHT}  # of the job; nobody is shown these


class Sample:
    """One text as it comes in; `done` has it in the end, or None where it failed."""

    def __init__(self) -> None:
        self.text = ""
        self.done: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    def receive(self, event: Event | Ending) -> None:
        if isinstance(event, str):
            self._finish(None)
            return
        self.text += storable(event.text)
        if event.finish:
            self._finish(self.text)

    def _finish(self, text: str | None) -> None:
        if not self.done.done():
            self.done.set_result(text)


@dataclass(frozen=True, slots=True)
class Draft:
    """What is needed to write for a round."""

    room_id: int
    text: str
    answer_kind: AnswerKind
    n_samples: int


class RoomWriter:
    """Writes for the rounds that entered the phase of answers; also for those that a killed server left there."""

    def __init__(
        self, db: Database, generation: GenerationService, checkpoint_ids: dict[Role, int]
    ) -> None:
        self.db, self.generation, self.checkpoint_ids = db, generation, checkpoint_ids
        self._tasks: set[asyncio.Task[None]] = set()
        self._writing: set[int] = set()

    def start(self, round_id: int) -> None:
        """Write for a round, unless another process is at it."""
        self._writing.add(round_id)
        task = asyncio.create_task(self._write(round_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def keep_resuming(self, every_s: float = RESUME_EVERY_S) -> None:
        """Until cancelled: at once and then now and then, rounds whose writer has died."""
        query = (
            select(Round.id)
            .join(Room, (Room.id == Round.room_id) & (Room.round_number == Round.number))
            .where(Room.phase == Phase.ANSWERS, Round.released_at.is_(None))
        )
        while True:
            with suppress(DBAPIError):
                waiting = await self.db.read(lambda session: list(session.scalars(query)))
                for round_id in set(waiting) - self._writing:
                    self.start(round_id)
            await asyncio.sleep(every_s)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _write(self, round_id: int) -> None:
        try:
            async with self.db.claim(round_id) as is_mine:
                if is_mine:
                    await self._write_mine(round_id)
        finally:
            self._writing.discard(round_id)

    async def _write_mine(self, round_id: int) -> None:
        try:
            draft = await self.db.read(lambda session: _draft(session, round_id))
            if draft is None:
                return
            plans = self.generation.plan(draft.text)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._answer(round_id, draft, plans))
                for plan in plans:
                    group.create_task(self._sample(round_id, draft, plan))
        except Exception:
            log.exception("the answers of round %s could not be written", round_id)
            await self._persist(lambda session: _fail(session, round_id))
        await self._persist(lambda session: _release(session, round_id))

    async def _persist(self, work: Callable[[Session], None]) -> None:
        """Write, also when the database refuses for a while."""
        for delay_s in SAVE_DELAYS_S:
            try:
                return await self.db.write(work)
            except DBAPIError as error:
                log.error("a round could not be written yet: %s", type(error).__name__)
                await asyncio.sleep(delay_s)
        return await self.db.write(work)

    async def _answer(self, round_id: int, draft: Draft, plans: list[Plan]) -> None:
        """One answer of each checkpoint, kept as every other."""
        ids = await self.db.write(
            lambda session: _new_generations(session, round_id, plans, self.checkpoint_ids)
        )
        by_side = {SIDE_OF[role]: id_ for role, id_ in ids.items()}
        by_plan = {SIDE_OF[plan.role]: plan for plan in plans}

        async def save(side: Side, result: Result) -> None:
            end = End(by_side[side], by_plan[side].params.seed, result)
            await self.db.write_together(exchanges.save_all, "", end)

        job = Job(f"round-{round_id}")
        self.generation.submit(job, by_plan, save, owner=f"room-{draft.room_id}")
        with self.generation.watching(job):
            await job.done()

    async def _sample(self, round_id: int, draft: Draft, plan: Plan) -> None:
        max_tokens = SAMPLE_TOKENS.get(draft.answer_kind)
        if max_tokens is None or not draft.n_samples:
            return
        started, first_seed = time.perf_counter(), secrets.randbelow(2**31)
        readers = [Sample() for _ in range(draft.n_samples)]
        for i, reader in enumerate(readers):
            params = replace(plan.params, seed=first_seed + i, max_tokens=max_tokens)
            owner = f"samples-{draft.room_id}"
            self.generation.submit_one(reader, replace(plan, params=params), owner=owner)
        texts = [text for text in await asyncio.gather(*(r.done for r in readers)) if text]
        batch = SampleBatch(
            round_id=round_id,
            checkpoint_id=self.checkpoint_ids[plan.role],
            first_seed=first_seed,
            max_tokens=max_tokens,
            texts=texts,
            total_ms=round((time.perf_counter() - started) * 1000, 1),
        )
        await self._persist(lambda session: _keep(session, batch))


def _draft(session: Session, round_id: int) -> Draft | None:
    """None where the round was erased, or somebody else has written it."""
    query = select(Round).where(Round.id == round_id).options(joinedload(Round.prompt))
    round_ = session.scalar(query)
    if round_ is None or round_.released_at is not None:
        return None
    kind = AnswerKind(round_.prompt.answer_kind)
    return Draft(round_.room_id, round_.prompt.text, kind, round_.n_samples)


def _new_generations(
    session: Session, round_id: int, plans: list[Plan], checkpoint_ids: dict[Role, int]
) -> dict[Role, int]:
    round_ = session.get_one(Round, round_id)
    rows = {
        plan.role: exchanges.new_generation(round_.prompt_id, checkpoint_ids[plan.role], plan)
        for plan in plans
    }
    session.add_all(rows.values())
    session.flush()
    round_.base_id, round_.tuned_id = rows[Role.BASE].id, rows[Role.TUNED].id
    return {role: row.id for role, row in rows.items()}


def _keep(session: Session, batch: SampleBatch) -> None:
    """In place of an earlier one, that a killed server had kept; nothing where the round was erased."""
    held = select(Round.id).where(Round.id == batch.round_id).with_for_update(read=True)
    if session.scalar(held) is None:
        return
    session.execute(
        delete(SampleBatch).where(
            SampleBatch.round_id == batch.round_id,
            SampleBatch.checkpoint_id == batch.checkpoint_id,
        )
    )
    session.merge(batch)


def _fail(session: Session, round_id: int) -> None:
    round_ = session.get(Round, round_id)
    if round_ is None:
        return
    session.execute(
        update(Generation)
        .where(
            Generation.id.in_([round_.base_id, round_.tuned_id]),
            Generation.finish_reason.is_(None),
        )
        .values(finish_reason=Finish.ERROR)
    )


def _release(session: Session, round_id: int) -> None:
    round_ = session.get(Round, round_id)
    if round_ is None:  # the room was erased in the meantime
        return
    round_.released_at = now()
    touch(session, room_topic(round_.room_id), phase_topic(round_.room_id))
