"""Live updates: within one process, and from one process to another through PostgreSQL."""

import asyncio
import itertools
import threading
import time

import pytest
from sqlalchemy.orm import Session

from app.db import Database
from app.events import Hub, touch
from app.routes.live import live


def test_a_change_that_came_before_the_wait_is_not_missed() -> None:
    async def run() -> None:
        hub = Hub()
        seen = hub.version("t")
        hub.bump("t")
        await asyncio.wait_for(hub.newer("t", seen), 0.1)
        seen = hub.version("t")
        waiting = [asyncio.create_task(hub.newer("t", seen)) for _ in range(3)]
        await asyncio.sleep(0.01)
        hub.bump("another")
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in waiting)
        hub.bump("t")
        await asyncio.wait_for(asyncio.gather(*waiting), 0.1)

    asyncio.run(run())


def touch_and_fail(session: Session) -> float:
    touch(session, "t")
    return 1 / 0


def test_a_topic_is_heard_of_when_the_transaction_is_committed(db: Database) -> None:
    async def run() -> None:
        before = db.hub.version("t")
        with pytest.raises(ZeroDivisionError):
            await db.write(touch_and_fail)
        assert db.hub.version("t") == before
        await db.write(lambda s: touch(s, "t"))
        assert db.hub.version("t") > before

    asyncio.run(run())


def test_another_process_hears_of_it_and_a_cut_line_is_mended(
    database_url: str, request: pytest.FixtureRequest
) -> None:
    if not database_url.startswith("postgresql"):
        return  # SQLite has one process
    here, there = Database(database_url), Database(database_url)

    async def run() -> None:
        listening = asyncio.create_task(there.listen())
        await asyncio.sleep(0.5)
        for cut in (False, True):
            if cut:
                here.write_now(_cut_listeners)
            seen = there.hub.version("room:1")
            deadline = time.monotonic() + 20
            while there.hub.version("room:1") == seen:  # while the line is cut, nothing comes
                assert time.monotonic() < deadline
                await here.write(lambda s: touch(s, "room:1"))
                await asyncio.sleep(0.2)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)

    asyncio.run(run())
    here.close()
    there.close()


def _cut_listeners(session: Session) -> None:
    from sqlalchemy import text

    session.execute(
        text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE query LIKE 'LISTEN%' AND pid <> pg_backend_pid()"
        )
    )


def test_a_page_is_sent_when_it_changed_and_never_twice_within_the_gap() -> None:
    async def run() -> list[tuple[float, str]]:
        hub, drawn, got = Hub(), 0, []

        async def redraw() -> tuple[str, float | None]:
            nonlocal drawn
            drawn += 1
            return f"<p>{hub.version('t') // 3}</p>", None

        response = live(hub, "t", redraw, gap_s=0.2)
        started = time.monotonic()

        async def read() -> None:
            async for event in response.body_iterator:  # type: ignore[attr-defined]
                got.append((time.monotonic() - started, event["data"]))

        reading = asyncio.create_task(read())
        for _ in range(30):
            await asyncio.sleep(0.02)
            hub.bump("t")
        await asyncio.sleep(0.5)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        assert drawn <= 8
        return got

    got = asyncio.run(run())
    assert got[0][1] == "<p>0</p>"
    assert got[-1][1] == "<p>10</p>"
    gaps = [b[0] - a[0] for a, b in itertools.pairwise(got)]
    assert min(gaps) > 0.15
    assert threading.active_count() < 50
