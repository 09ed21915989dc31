"""What the models write for a round, in the real app with a tiny real pair."""

import asyncio
import json
import time
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event
from sqlalchemy.orm import Session
from support import by_role, rows, wait_until

from app.config import Settings
from app.db import Database
from app.deps import Services
from app.main import create_app
from app.services import rooms, rounds
from app.services.rounds import RoundOptions
from app.tables import AnswerKind, Generation, Participant, Phase, Room, Round, SampleBatch, now
from model.pair import Pair


def services_of(client: TestClient) -> Services:
    services: Services = client.app.state.services  # type: ignore[attr-defined]
    return services


def start_round(db: Database, kind: AnswerKind, **options: Any) -> int:
    """A round in the phase of answers, as the host's page leaves it."""

    def work(session: Session) -> int:
        room, _ = rooms.create(session)
        prompt = next(p for p in rooms.prompts(session, room) if p.answer_kind == kind)
        chosen = RoundOptions(asks_people=False, **options)
        return rounds.start(session, room, room.version, prompt.id, chosen).id

    return db.write_now(work)


def write(client: TestClient, round_id: int) -> None:
    """In the app's own event loop, as a route does."""
    assert client.portal
    client.portal.call(services_of(client).room_writer.start, round_id)


def is_released(db: Database, round_id: int) -> bool:
    return db.read_now(lambda s: s.get_one(Round, round_id).released_at is not None)


def test_each_writes_one_answer_and_many_samples(client: TestClient, db: Database) -> None:
    round_id = start_round(db, AnswerKind.NUMBER, n_samples=7)
    write(client, round_id)
    wait_until(lambda: is_released(db, round_id))
    round_ = rows(db, Round)[0]
    written = {g.id: g for g in rows(db, Generation)}
    assert set(written) == {round_.base_id, round_.tuned_id}
    assert written[round_.base_id].envelope == "raw"
    assert written[round_.tuned_id].envelope == "chat"
    assert all(g.finish_reason in ("stop", "length") and g.text for g in written.values())
    batches = rows(db, SampleBatch)
    assert len(batches) == 2
    assert all(0 < len(b.texts) <= 7 for b in batches)
    assert len({text for b in batches for text in b.texts}) > 2


def test_an_open_question_has_no_picture(client: TestClient, db: Database) -> None:
    round_id = start_round(db, AnswerKind.TEXT, n_samples=7)
    write(client, round_id)
    wait_until(lambda: is_released(db, round_id))
    assert rows(db, SampleBatch) == []


def test_a_fault_of_the_engine_ends_the_waiting(
    client: TestClient, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> object:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(services_of(client).generation.engine, "step", fails)
    round_id = start_round(db, AnswerKind.NUMBER, n_samples=3)
    write(client, round_id)
    wait_until(lambda: is_released(db, round_id))
    assert {g.finish_reason for g in rows(db, Generation)} == {"error"}
    assert all(b.texts == [] for b in rows(db, SampleBatch))

    def later(session: Session) -> tuple[Phase, ...]:
        """Long after both came into view."""
        room = session.get_one(Room, rows(db, Room)[0].id)
        return rounds.steps(room, rounds.current(session, room), now() + timedelta(minutes=1))

    assert db.read_now(later) == (Phase.LOBBY,)  # there is nothing fair to vote on


def test_a_round_that_a_killed_server_left_is_written_at_the_next_start(
    settings: Settings, db: Database, pair: Pair
) -> None:
    round_id = start_round(db, AnswerKind.NUMBER, n_samples=3)
    app = create_app(settings, Database(settings.database_url), by_role(pair))
    with TestClient(app):
        wait_until(lambda: is_released(db, round_id))
    assert rows(db, Room)[0].phase == Phase.ANSWERS
    assert len(rows(db, SampleBatch)) == 2


def test_a_round_is_written_by_one_process_only(settings: Settings, db: Database) -> None:
    async def run() -> None:
        other = Database(settings.database_url)
        async with db.claim(7) as mine:
            assert mine
            async with other.claim(7) as theirs, other.claim(8) as another:
                assert theirs == (db.engine.dialect.name == "sqlite")  # where nobody else is
                assert another
        async with other.claim(7) as now_theirs:
            assert now_theirs
        other.close()

    asyncio.run(run())


@pytest.mark.parametrize("moment", ["connect", "before_cursor_execute", "after_cursor_execute"])
def test_a_claim_that_is_cancelled_while_it_is_taken_leaves_nothing_behind(
    settings: Settings, db: Database, moment: str
) -> None:
    other = Database(settings.database_url)
    event.listen(other.engine, moment, lambda *_: time.sleep(0.2))

    async def run() -> None:
        async def claim() -> None:
            async with other.claim(7):
                await asyncio.sleep(60)

        task = asyncio.create_task(claim())
        await asyncio.sleep(0.1)  # the thread is at it
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert other.engine.pool.status().endswith("Current Checked out connections: 0")
        async with db.claim(7) as mine:
            assert mine

    asyncio.run(run())
    other.close()


def test_a_room_past_its_date_is_erased_at_the_next_start(
    settings: Settings, db: Database, pair: Pair
) -> None:
    def open_two(session: Session) -> None:
        rooms.create(session)[0].erase_at = now() - timedelta(minutes=1)
        rooms.create(session)

    db.write_now(open_two)
    app = create_app(settings, Database(settings.database_url), by_role(pair))
    with TestClient(app):
        wait_until(lambda: len(rows(db, Room)) == 1)
    assert rows(db, Room)[0].erase_at > now()


def test_whoever_has_the_page_open_is_here(client: TestClient, db: Database) -> None:
    def join(session: Session) -> tuple[int, int]:
        room, _ = rooms.create(session)
        member = rooms.join(session, room, "a")
        member.last_seen_at = None
        return room.id, member.id

    room_id, member_id = db.write_now(join)
    with services_of(client).presence.here(room_id, member_id):
        assert client.portal
        client.portal.call(
            services_of(client).presence._news.set
        )  # from this thread, unlike a page
        wait_until(lambda: rows(db, Participant)[0].last_seen_at is not None)
    assert json.dumps(sorted(services_of(client).presence._here)) == "[]"
