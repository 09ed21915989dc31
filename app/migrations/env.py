"""Alembic's entry: runs the migrations on the engine that it was given, or on DATABASE_URL."""

from typing import Any

from alembic import context
from sqlalchemy import Engine, text

from app.config import Settings
from app.db import UPGRADE_SPACE, make_engine
from app.tables import Table


def is_ours(obj: Any, name: str | None, kind: str, is_reflected: bool, compare_to: Any) -> bool:
    """Views are made by hand in the migrations."""
    return name != "current_vote"


def run() -> None:
    engine: Engine = context.config.attributes.get("engine") or make_engine(Settings().database_url)
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        if engine.dialect.name == "sqlite":  # a table that is made anew is dropped in between
            driver.execute("PRAGMA foreign_keys=OFF")
        if engine.dialect.name == "postgresql":  # one process at a time, until the commit
            connection.execute(
                text("SELECT pg_advisory_xact_lock(:space, 0)"), {"space": UPGRADE_SPACE}
            )
        context.configure(
            connection=connection,
            target_metadata=Table.metadata,
            render_as_batch=True,
            include_object=is_ours,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
        if engine.dialect.name == "sqlite":
            driver.execute("PRAGMA foreign_keys=ON")


run()
