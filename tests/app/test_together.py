"""What many ask at one moment is done at once, and yet to each as if alone."""

import asyncio
from collections.abc import Sequence

from app.errors import Conflict
from app.together import MOST, Together


def test_what_comes_while_others_are_at_work_is_done_together_and_rooms_take_turns() -> None:
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
        assert batches == [("A", 1), ("A", MOST), ("B", 1), ("A", 10)]
        assert results[:3] == ["A0", "B2", "A0"]
        assert isinstance(results[3], Conflict)
        assert results[-2] == f"A{MOST + 8}"
        assert await together.do("A", 8) == "A8"

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
