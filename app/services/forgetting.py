"""The daily job that erases every room whose time is over; it also runs at each start."""

import asyncio
import logging

from sqlalchemy.exc import DBAPIError

from app.db import Database
from app.services import erasure
from app.tables import now

log = logging.getLogger(__name__)

EVERY_S = 24 * 3600.0
AGAIN_S = 300.0  # after the database refused


async def forget_daily(db: Database, every_s: float = EVERY_S) -> None:
    """Until cancelled."""
    while True:
        try:
            n = await db.erase(lambda session: erasure.erase_expired(session, now()))
        except DBAPIError as error:
            log.warning("expired rooms could not be erased yet: %s", type(error).__name__)
            await asyncio.sleep(AGAIN_S)
            continue
        if n:
            log.warning("%s expired room(s) erased", n)
        await asyncio.sleep(every_s)
