"""What comes in while earlier work is being done is then done together: the fuller a room, the less each tap costs."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST = 50  # at once, so that the first are answered while others are at work


class Together(Generic[Item, Result]):
    """One kind of work on many items, each room by itself. Everything happens in the event loop."""

    def __init__(
        self, run: Callable[[str, list[Item]], Awaitable[Sequence[Result | Exception]]]
    ) -> None:
        """`run` gives for each item of a room what it led to, or why it was refused."""
        self._run = run
        self._waiting: dict[str, list[tuple[Item, asyncio.Future[Result]]]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def do(self, room: str, item: Item) -> Result:
        """The item's result, when the work on it and on those beside it is over."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(room, []).append((item, future))
        if room not in self._tasks:
            self._tasks[room] = asyncio.create_task(self._work(room))
        return await future

    async def _work(self, room: str) -> None:
        try:
            while waiting := self._waiting.pop(room, []):
                if len(waiting) > MOST:
                    self._waiting[room] = waiting[MOST:]
                await self._work_on(room, waiting[:MOST])
        finally:
            del self._tasks[room]

    async def _work_on(self, room: str, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        results: Sequence[Result | Exception]
        try:
            results = await self._run(room, [item for item, _ in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results of {len(batch)}")
        except Exception as error:
            results = [error] * len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():  # whoever asked has left
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
