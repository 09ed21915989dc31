"""Small words that many tests of the web app use."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.services import room_votes
from app.services.facts import Source
from app.services.room_votes import Ballot, MyVotes
from app.tables import Participant, Role, Room
from model.pair import Pair


def missing(reason: str) -> NoReturn:
    """A test that cannot run here fails, with what it needs: none is passed over in silence."""
    pytest.fail(reason)


HTMX = {"hx-request": "true"}  # what a script sends


def rows(db: Database, table: type) -> list:  # type: ignore[type-arg]
    return db.read_now(lambda s: list(s.scalars(select(table).order_by(table.id))))  # type: ignore[attr-defined]


def cast(session: Session, room: Room, person: Participant, ballot: Ballot, key: str) -> None:
    (mine,) = room_votes.keep_taps(session, room, [(person, ballot, key)])
    assert isinstance(mine, MyVotes), mine


def answer(session: Session, room: Room, person: Participant, text: str) -> None:
    assert room_votes.keep_answers(session, room, [(person, text)]) == [None]


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def exchange_id(html: str) -> str:
    match = re.search(r'data-exchange="([\w-]+)"', html)
    assert match, html
    return match[1]


def slow_down(client: TestClient, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """The tiny pair writes faster than anybody leaves."""
    engine = client.app.state.services.generation.engine  # type: ignore[attr-defined]
    step = engine.step

    def slow() -> object:
        time.sleep(seconds)
        return step()

    monkeypatch.setattr(engine, "step", slow)


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The app on a real port: its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def by_role(pair: Pair) -> dict[Role, Source]:
    """A pair as the app takes it."""
    return {Role.BASE: pair.base, Role.TUNED: pair.tuned}
