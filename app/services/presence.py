"""Who has the room's page open: a sign of life in the database every few seconds, written for all together."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.db import Database
from app.events import room_topic, touch
from app.tables import Participant, now

log = logging.getLogger(__name__)

EVERY_S = 8.0
SOON_S = 0.5  # newcomers are written together, this long after the first of them


class Presence:
    """The open pages of this process."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self._here: Counter[tuple[int, int]] = Counter()  # pages by (room, participant)
        self._news = asyncio.Event()

    @contextmanager
    def here(self, room_id: int, participant_id: int) -> Iterator[None]:
        key = (room_id, participant_id)
        self._here[key] += 1
        self._news.set()
        try:
            yield
        finally:
            self._here[key] -= 1
            self._here += Counter()  # drops those that are gone

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), EVERY_S)
                await asyncio.sleep(SOON_S)
            self._news.clear()
            if self._here:
                try:
                    await self.db.write(self._mark)
                except DBAPIError as error:  # the next sign comes soon
                    log.warning("signs of life could not be written: %s", type(error).__name__)

    def _mark(self, session: Session) -> None:
        keys = list(self._here)
        session.execute(
            update(Participant)
            .where(Participant.id.in_([participant_id for _, participant_id in keys]))
            .values(last_seen_at=now())
        )
        touch(session, *{room_topic(room_id) for room_id, _ in keys})
