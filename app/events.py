"""Who is told that something changed: topics with a version, in one process or, on PostgreSQL, across many.

A subscriber learns only *that* a topic changed and reads the database again. A service touches a topic in its
transaction (`touch`); the others hear of it when it is committed.
"""

import asyncio
import logging
from collections import defaultdict

import psycopg
from sqlalchemy import text
from sqlalchemy.orm import Session

log = logging.getLogger(__name__)

CHANNEL = "dois_treinos"
MAX_DELAY_S = 10.0


def room_topic(room_id: int) -> str:
    """Anything of a room that the host or the projector shows."""
    return f"room:{room_id}"


def phase_topic(room_id: int) -> str:
    """What all phones of a room must show anew."""
    return f"room:{room_id}:phase"


def touch(session: Session, *topics: str) -> None:
    """Tell of a change when this transaction is committed."""
    session.info.setdefault("topics", set()).update(topics)
    if session.get_bind().dialect.name == "postgresql":
        for topic in topics:
            session.execute(
                text("SELECT pg_notify(:channel, :topic)"), {"channel": CHANNEL, "topic": topic}
            )


class Hub:
    """The topics of this process. Everything happens in the event loop."""

    def __init__(self) -> None:
        self._versions: defaultdict[str, int] = defaultdict(int)
        self._waiting: dict[str, asyncio.Event] = {}

    def bump(self, topic: str) -> None:
        self._versions[topic] += 1
        if event := self._waiting.pop(topic, None):
            event.set()

    def bump_all(self) -> None:
        """Something may have been missed."""
        for topic in list(self._versions.keys() | self._waiting.keys()):
            self.bump(topic)

    def version(self, topic: str) -> int:
        return self._versions[topic]

    async def newer(self, topic: str, seen: int) -> None:
        """Until the topic has another version than `seen`."""
        while self._versions[topic] == seen:
            await self._waiting.setdefault(topic, asyncio.Event()).wait()


class PostgresListener:
    """Brings what other processes touched into this process's hub."""

    def __init__(self, hub: Hub, url: str) -> None:
        """`url` as libpq takes it."""
        self.hub, self.url = hub, url

    async def run(self) -> None:
        """Until cancelled; a lost connection is made anew."""
        delay = 0.5
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self.url, autocommit=True
                ) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    delay = 0.5
                    self.hub.bump_all()
                    while True:
                        async for notice in connection.notifies(timeout=30):
                            self.hub.bump(notice.payload)
                        await connection.execute("SELECT 1")  # notices a dead link
            except (psycopg.OperationalError, OSError) as error:
                log.warning("live updates from other processes are interrupted: %s", error)
                await asyncio.sleep(delay)
                delay = min(2 * delay, MAX_DELAY_S)
