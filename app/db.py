"""The database: one engine, short transactions, SQLite or PostgreSQL.

On SQLite all writes go through one thread (faster than many that wait for each other) and begin with
BEGIN IMMEDIATE, so that a write never fails half-way for want of the lock.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from app.errors import AppError, Unusable
from app.events import Hub, PostgresListener
from app.together import Together

T = TypeVar("T")
Item = TypeVar("Item")
ForMany = Callable[[Session, str, list[Item]], Sequence[T | Exception]]
MIGRATIONS = Path(__file__).resolve().parent / "migrations"
BUSY_TIMEOUT_MS = 5000
NO_ANSWER = (OperationalError, InterfaceError, PoolTimeout)
CLAIM_SPACE, UPGRADE_SPACE = 24_001, 24_002  # of advisory locks
CLAIM = text("SELECT pg_try_advisory_lock(:space, :key)")
UNCLAIM = text("SELECT pg_advisory_unlock(:space, :key)")


def make_engine(url: str) -> Engine:
    """An engine for a URL; SQLite gets its pragmas, and its folder if that is missing."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise Unusable(f"DATABASE_URL is not a database address: {url!r}") from error
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    is_file = parsed.get_backend_name() == "sqlite" and not parsed.query.get("uri")
    try:
        if is_file and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        # without parameters in error messages: they are what people wrote
        engine = create_engine(parsed, pool_pre_ping=not is_file, hide_parameters=True)
    except (OSError, ImportError, NoSuchModuleError) as error:
        raise Unusable(
            f"The database {parsed.render_as_string()} cannot be used: {error}"
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_pragmas)
        event.listen(engine, "begin", _begin)
    return engine


class Database:
    """Transactions for async code: `await db.write(work)` runs `work(session)` in a thread and commits."""

    def __init__(self, url: str) -> None:
        self.engine = make_engine(url)
        self._write = sessionmaker(self.engine, expire_on_commit=False)
        self._read = sessionmaker(
            self.engine.execution_options(write=False), expire_on_commit=False
        )
        n_writers = 1 if self.engine.dialect.name == "sqlite" else 8
        self._writers = ThreadPoolExecutor(n_writers, "db-write")
        self._readers = ThreadPoolExecutor(4, "db-read")
        self.hub = Hub()
        self._together: dict[Any, Together[Any, Any]] = {}

    def write_now(self, work: Callable[[Session], T]) -> T:
        """One transaction, in the calling thread."""
        return self._write_and_tell(work)[0]

    def _write_and_tell(self, work: Callable[[Session], T]) -> tuple[T, set[str]]:
        """The result, and the topics that were touched."""
        with self._write.begin() as session:
            result = work(session)
        return result, session.info.get("topics", set())

    def read_now(self, work: Callable[[Session], T]) -> T:
        with self._read.begin() as session:
            return work(session)

    async def write(self, work: Callable[[Session], T]) -> T:
        """One transaction: committed when this returns, undone when it raises."""
        loop = asyncio.get_running_loop()
        result, topics = await loop.run_in_executor(self._writers, self._write_and_tell, work)
        for topic in topics:
            self.hub.bump(topic)
        return result

    async def read(self, work: Callable[[Session], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self.read_now, work)

    async def write_together(self, work: ForMany[Item, T], room: str, item: Item) -> T:
        """As `write`, in one transaction with what else is asked of this room at the moment.

        An item that `work` refuses is an exception among its results: the others are committed.
        """
        return await self._do_together(self.write, work, room, item)

    async def read_together(self, work: ForMany[Item, T], room: str, item: Item) -> T:
        return await self._do_together(self.read, work, room, item)

    async def _do_together(self, do: Any, work: ForMany[Item, T], room: str, item: Item) -> T:
        if work not in self._together:
            self._together[work] = Together(lambda room, items: self._do_all(do, work, room, items))
        result: T = await self._together[work].do(room, item)
        return result

    async def _do_all(
        self, do: Any, work: ForMany[Item, T], room: str, items: list[Item]
    ) -> Sequence[T | Exception]:
        results: list[T | Exception] = []
        try:
            results.extend(await do(lambda session: work(session, room, items)))
        except (AppError, *NO_ANSWER):  # the room is not there, or the database
            raise
        except Exception:  # one of them cannot be written: its room was just erased, it is no text
            if len(items) == 1:
                raise
            for item in items:  # so that the others lose nothing
                try:
                    results.extend(await self._do_all(do, work, room, [item]))
                except Exception as error:
                    results.append(error)
        return results

    @asynccontextmanager
    async def claim(self, key: int) -> AsyncIterator[bool]:
        """Whether this process alone works on something; the claim ends with the block, or with the process.

        PostgreSQL keeps it (an advisory lock of a connection of its own). On SQLite there is no other process.
        """
        if self.engine.dialect.name != "postgresql":
            yield True
            return
        taking = asyncio.create_task(asyncio.to_thread(self._take, key))
        try:
            _, is_mine = await asyncio.shield(taking)
            yield is_mine
        finally:  # also where this was cancelled while the thread was at it: no lock may stay behind
            connection, _ = await taking
            await asyncio.to_thread(_let_go, connection, key)

    def _take(self, key: int) -> tuple[Connection, bool]:
        connection = self.engine.connect()
        try:
            return connection, bool(connection.scalar(CLAIM, {"space": CLAIM_SPACE, "key": key}))
        except BaseException:
            connection.invalidate()
            connection.close()
            raise

    def wipe(self) -> None:
        """After an erasure: on SQLite, out of the log beside the file too. PostgreSQL vacuums by itself."""
        if self.engine.dialect.name == "sqlite":
            raw = self.engine.raw_connection()
            try:
                raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                raw.close()

    async def erase(self, work: Callable[[Session], T]) -> T:
        """A transaction that erases, and what must follow it."""
        try:
            result = await self.write(work)
        except (IntegrityError, OperationalError):
            # a vote came while it waited, erased with the rest the second time; or answers were just being saved
            result = await self.write(work)
        await asyncio.to_thread(self.wipe)
        return result

    async def listen(self) -> None:
        """Hear what other processes write, until cancelled. Only PostgreSQL tells."""
        if self.engine.dialect.name == "postgresql":
            url = self.engine.url.set(drivername="postgresql")
            await PostgresListener(self.hub, url.render_as_string(hide_password=False)).run()

    def upgrade(self) -> None:
        """Bring the tables up to date; Unusable where the database cannot be reached or written."""
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["engine"] = self.engine
        try:
            command.upgrade(config, "head")
            self.write_now(_touch)
        except (DBAPIError, CommandError) as error:
            raise self._unusable(error) from error

    def ping(self) -> None:
        """Raises a DBAPIError where the database does not answer."""
        self.read_now(lambda session: session.execute(text("SELECT 1")))

    def state(self) -> str:
        """In words, whether the tables are there; changes nothing. Unusable where it cannot be read."""
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        wanted = ScriptDirectory.from_config(config).get_current_head()
        try:
            with self.engine.connect() as connection:
                found = MigrationContext.configure(connection).get_current_revision()
        except DBAPIError as error:
            raise self._unusable(error) from error
        if found is None:
            return "empty: the first start makes the tables"
        return (
            "tables up to date" if found == wanted else "older: the next start updates the tables"
        )

    def _unusable(self, error: Exception) -> Unusable:
        cause = error.orig if isinstance(error, DBAPIError) else error
        url = self.engine.url.render_as_string()  # its password hidden
        return Unusable(f"The database {url} cannot be used: {str(cause).strip()}")

    def close(self) -> None:
        self._writers.shutdown()
        self._readers.shutdown()
        self.engine.dispose()


def _let_go(connection: Connection, key: int) -> None:
    """At once, not when the server notices that the connection is gone; which does not go back to the pool."""
    with suppress(DBAPIError):
        connection.execute(UNCLAIM, {"space": CLAIM_SPACE, "key": key})
    connection.invalidate()
    connection.close()


def _touch(session: Session) -> None:
    """A write that changes nothing, to find out whether writing is allowed."""
    session.execute(text("UPDATE checkpoint SET name = name WHERE 1 = 0"))


def _set_pragmas(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver must not BEGIN by itself
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "foreign_keys=ON",
        "secure_delete=ON",  # what a room is erased of must not stay in the file
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("write", True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
