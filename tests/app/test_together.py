"""What many ask at one moment is done at once, and yet to each as if alone."""

import asyncio
from collections.abc import Sequence

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from support import rows

from app.db import Database
from app.errors import Conflict
from app.security import new_token
from app.services import rooms
from app.tables import KeyKind, RoomKey
from app.together import MOST, Together


def test_what_comes_while_others_are_at_work_is_done_together_and_no_room_waits_for_another() -> (
    None
):
    async def run() -> None:
        batches: list[tuple[str, int]] = []

        async def work(room: str, items: list[int]) -> Sequence[str | Exception]:
            batches.append((room, len(items)))
            await asyncio.sleep(0.01)
            return [Conflict("odd") if item % 2 else f"{room}{item}" for item in items]

        together = Together(work)
        first = asyncio.create_task(together.do("A", 0))
        await asyncio.sleep(0.005)
        many = [asyncio.create_task(together.do("A", i)) for i in range(MOST + 10)]
        other = asyncio.create_task(together.do("B", 2))
        leaver = many.pop(4)
        await asyncio.sleep(0)
        leaver.cancel()
        results = await asyncio.gather(first, other, *many, return_exceptions=True)
        assert batches == [("A", 1), ("B", 1), ("A", MOST), ("A", 10)]
        assert results[:3] == ["A0", "B2", "A0"]
        assert isinstance(results[3], Conflict)
        assert results[-2] == f"A{MOST + 8}"
        assert await together.do("A", 8) == "A8"

    asyncio.run(run())


def test_a_batch_that_comes_back_short_fails_and_does_not_hang() -> None:
    async def run() -> None:
        async def work(_room: str, items: list[int]) -> Sequence[int | Exception]:
            return items[1:]

        results = await asyncio.gather(
            *(Together(work).do("A", i) for i in (0, 1)), return_exceptions=True
        )
        assert [type(r) for r in results] == [RuntimeError, RuntimeError]

    asyncio.run(run())


def test_a_failure_is_told_to_all_of_the_batch_and_to_nobody_after_it() -> None:
    async def run() -> None:
        async def work(_room: str, items: list[int]) -> Sequence[float | Exception]:
            return [1 / item for item in items]

        together = Together(work)
        results = await asyncio.gather(
            *(together.do("A", i) for i in (0, 1)), return_exceptions=True
        )
        assert [type(r) for r in results] == [ZeroDivisionError, ZeroDivisionError]
        assert await together.do("A", 2) == 0.5

    asyncio.run(run())


def test_who_was_erased_in_the_meantime_does_not_undo_what_the_others_wrote(db: Database) -> None:
    def keep(session: Session, _room: str, room_ids: list[int]) -> list[int]:
        for room_id in room_ids:
            session.add(RoomKey(room_id=room_id, kind=KeyKind.HOST, token_hash=new_token()))
        session.flush()
        return room_ids

    async def run() -> None:
        here = db.write_now(lambda session: rooms.create(session)[0].id)
        n_keys, gone = len(rows(db, RoomKey)), here + 1
        results = await asyncio.gather(
            *(db.write_together(keep, "A", room_id) for room_id in (here, gone, here)),
            return_exceptions=True,
        )
        assert results[0] == results[2] == here
        assert isinstance(results[1], IntegrityError)
        assert len(rows(db, RoomKey)) == n_keys + 2

    asyncio.run(run())


def test_what_is_written_while_something_is_erased_is_erased_too(db: Database) -> None:
    tries: list[int] = []

    def erase(session: Session) -> int:
        tries.append(len(tries))
        if (
            len(tries) == 1
        ):  # what a vote that was not seen leads to: a row without the one it points to
            session.add(RoomKey(room_id=0, kind=KeyKind.HOST, token_hash=new_token()))
            session.flush()
        return len(tries)

    assert asyncio.run(db.erase(erase)) == 2
    assert not rows(db, RoomKey)
