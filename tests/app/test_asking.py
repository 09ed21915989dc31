"""Prompts that come together, and exchanges that are shown while they are written."""

import asyncio
from dataclasses import replace
from itertools import count

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session
from support import HTMX, exchange_id, rows, slow_down

from app.db import Database
from app.errors import Conflict, NotFound
from app.security import hash_token
from app.services import exchanges, participants, rooms
from app.services.asking import Ask, create_all
from app.services.exchanges import End
from app.services.jobs import Result, storable
from app.tables import Exposure, Finish, Generation, Participant, Prompt, Side, now
from app.views import ExchangeView, Works, exchange_view

NUMBERS = count()


def ask(client: TestClient, cookie: str, text: str) -> Ask:
    services = client.app.state.services  # type: ignore[attr-defined]
    return Ask(
        cookie=cookie,
        public_id=f"ask-{next(NUMBERS)}",
        text=text,
        plans=services.generation.plan(text),
        checkpoint_ids=services.checkpoint_ids,
    )


def test_prompts_that_come_together_are_kept_each_with_its_own(
    client: TestClient, db: Database
) -> None:
    asks = [ask(client, c, t) for c, t in (("a", "um"), ("b", "dois"), ("a", "três"))]
    made = db.write_now(lambda session: create_all(session, "", asks))
    people = {p.id: p.token_hash for p in rows(db, Participant)}
    assert len(people) == 2
    prompts = {p.id: p.text for p in rows(db, Prompt)}
    answers = {g.id: g for g in rows(db, Generation)}
    for wanted, exposure in zip(asks, made, strict=True):
        assert isinstance(exposure, Exposure)
        assert exposure.public_id == wanted.public_id
        assert prompts[exposure.prompt_id] == wanted.text
        assert people[exposure.participant_id] == hash_token(wanted.cookie)
        for plan in wanted.plans:
            side = exchanges.SIDE_OF[plan.role]
            row = answers[exposure.left_id if side == Side.LEFT else exposure.right_id]
            assert (row.seed, row.prompt_ids) == (plan.params.seed, plan.prompt_ids)
            assert row.checkpoint_id == wanted.checkpoint_ids[plan.role]


def test_who_may_not_ask_in_a_room_takes_nothing_from_the_others(
    client: TestClient, db: Database
) -> None:
    def open_room(session: Session) -> str:
        room, _ = rooms.create(session)
        room.allows_free_play = True
        for cookie in ("inside", "removed"):
            rooms.join(session, room, cookie).removed_at = now() if cookie == "removed" else None
        return room.code

    code = db.write_now(open_room)
    asks = [ask(client, cookie, "O rato") for cookie in ("stranger", "inside", "removed")]
    made = db.write_now(lambda session: create_all(session, code, asks))
    assert [type(m) for m in made] == [NotFound, Exposure, Conflict]
    assert [p.text for p in rows(db, Prompt) if p.participant_id] == ["O rato"]


def test_ends_are_kept_together_and_an_erased_one_is_passed_over(
    client: TestClient, db: Database
) -> None:
    asks = [ask(client, "a", "O rato")]
    exposure = db.write_now(lambda session: create_all(session, "", asks))[0]
    assert isinstance(exposure, Exposure)
    answers = {g.id: g for g in rows(db, Generation)}
    left, right = answers[exposure.left_id], answers[exposure.right_id]
    ends = [
        End(left.id, left.seed, Result(text="roeu", completion_ids=[1, 2], finish=Finish.STOP)),
        End(right.id + 1000, right.seed, Result(text="apagada", finish=Finish.STOP)),
        End(right.id, right.seed, Result(text="a roupa", logps=[-0.5], finish=Finish.LENGTH)),
        # of one that was erased, whose id the new one has now
        End(right.id, right.seed + 1, Result(text="de outra pessoa", finish=Finish.STOP)),
    ]
    db.write_now(lambda session: exchanges.save_all(session, "", ends))
    kept = {g.id: g for g in rows(db, Generation)}
    assert kept[exposure.left_id].text == "roeu"
    assert kept[exposure.left_id].completion_ids == [1, 2]
    assert kept[exposure.right_id].text == "a roupa"
    assert kept[exposure.right_id].logps == [-0.5]
    assert kept[exposure.right_id].finish_reason == "length"
    assert len(kept) == 2


def test_an_end_that_cannot_be_written_takes_no_other_with_it(
    client: TestClient, db: Database
) -> None:
    """Another server's answer may hold half of a surrogate pair, which is no text."""
    asks = [ask(client, "a", "O rato"), ask(client, "b", "O rei")]
    first, second = db.write_now(lambda session: create_all(session, "", asks))
    assert isinstance(first, Exposure)
    assert isinstance(second, Exposure)
    answers = {g.id: g for g in rows(db, Generation)}
    ends = [
        End(id_, answers[id_].seed, Result(text=text, finish=Finish.STOP))
        for id_, text in (
            (first.left_id, "roeu"),
            (first.right_id, "\ud83d"),
            (second.left_id, "riu"),
        )
    ]

    async def save() -> list[BaseException | None]:
        saves = (db.write_together(exchanges.save_all, "", end) for end in ends)
        return await asyncio.gather(*saves, return_exceptions=True)

    outcomes = asyncio.run(save())
    assert outcomes[0] is None
    assert isinstance(outcomes[1], Exception)
    assert outcomes[2] is None
    kept = {g.id: g.text for g in rows(db, Generation)}
    assert (kept[first.left_id], kept[first.right_id], kept[second.left_id]) == ("roeu", "", "riu")


@pytest.mark.parametrize(
    ("text", "kept"),
    [("a\x00b", "a\ufffdb"), ("a\ud83d", "a\ufffd"), ("\ud83d\ude00 olá", "😀 olá"), ("🦜", "🦜")],
)
def test_what_no_database_keeps_is_replaced(text: str, kept: str) -> None:
    assert storable(text) == kept


def test_a_running_exchange_is_shown_from_memory_as_the_database_would_show_it(
    client: TestClient, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = client.app.state.services  # type: ignore[attr-defined]
    slow_down(client, monkeypatch, 0.3)
    public_id = exchange_id(client.post("/exchanges", data={"text": "O rato"}, headers=HTMX).text)
    cookie = client.cookies["participante"]
    works = Works.now(services.generation)

    def from_database(session: Session) -> ExchangeView:
        person = participants.of_exchange(session, cookie, public_id)
        return exchange_view(session, exchanges.get(session, person, public_id), works)

    from_memory = works.seen_by(cookie, public_id)
    assert from_memory is not None
    assert as_it_began(from_memory) == as_it_began(db.read_now(from_database))
    assert works.seen_by("somebody else", public_id) is None
    assert works.seen_by(None, public_id) is None
    stranger = TestClient(client.app)
    stranger.cookies.set("participante", "somebody else")
    assert stranger.get(f"/exchanges/{public_id}/stream").status_code == 404


def as_it_began(view: ExchangeView) -> ExchangeView:
    """Without what is drawn for each look, and without the text, which grows."""
    panes = []
    for pane in view.panes:
        assert pane.answer
        panes.append(replace(pane, answer=replace(pane.answer, text="", n_tokens=0, nonce="")))
    return replace(view, panes=panes)
