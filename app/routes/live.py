"""A page that follows its room: one stream, which sends a part of the page again when it has changed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext

import anyio
from sse_starlette import EventSourceResponse
from starlette.responses import Response

from app.events import Hub

NEVER_S = 3600.0
Redraw = Callable[[], Awaitable[tuple[str, float | None]]]


def live(
    hub: Hub,
    topic: str,
    redraw: Redraw,
    *,
    gap_s: float,
    around: AbstractContextManager[None] | None = None,
) -> Response:
    """A stream of what `redraw` gives: HTML for the page, and in how many seconds it will be another without any news.

    topic   what to wait for
    gap_s   least time between two events, unless `redraw` knows of an earlier change: news of this span go together
    around  is entered while the page is open
    """
    stop = anyio.Event()  # set when the server is told to exit
    return EventSourceResponse(
        _events(hub, topic, redraw, gap_s, around or nullcontext(), stop),
        ping=15,
        sep="\n",
        shutdown_event=stop,
        shutdown_grace_period=1.0,
        headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"},
    )


async def _events(
    hub: Hub,
    topic: str,
    redraw: Redraw,
    gap_s: float,
    around: AbstractContextManager[None],
    stop: anyio.Event,
) -> AsyncIterator[dict[str, str]]:
    """Ends without `done` when the server stops: the page then comes back by itself."""
    sent = ""
    with around:
        while not stop.is_set():
            seen = hub.version(topic)  # first, so that no news between here and the wait is lost
            html, again_s = await redraw()
            if html != sent:
                sent = html
                yield {"data": html}
            await asyncio.sleep(gap_s if again_s is None else min(gap_s, again_s))
            await _news(hub, topic, seen, again_s, stop)


async def _news(hub: Hub, topic: str, seen: int, again_s: float | None, stop: anyio.Event) -> None:
    """Until the topic has another version, the time is over or the server stops."""
    with anyio.move_on_after(NEVER_S if again_s is None else again_s):
        async with anyio.create_task_group() as group:

            async def first(wait: Callable[[], Awaitable[object]]) -> None:
                await wait()
                group.cancel_scope.cancel()

            group.start_soon(first, lambda: hub.newer(topic, seen))
            group.start_soon(first, stop.wait)
