import re
import threading

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import select
from support import HTMX, exchange_id, rows, slow_down

from app.db import Database
from app.tables import VoteEvent, current_vote

KEY = re.compile(r'name="key" value="([\w-]+)"')


@pytest.fixture
def exchange(client: TestClient) -> str:
    return exchange_id(client.post("/exchanges", data={"text": "O rato"}).text)


def vote(
    client: TestClient, exchange: str, value: int, side: str = "left", key: str = "k"
) -> Response:
    form = {"side": side, "value": str(value), "key": key}
    return client.post(f"/exchanges/{exchange}/votes", data=form, headers=HTMX)


def current(db: Database) -> dict[str, int | None]:
    query = select(current_vote.c.target, current_vote.c.value)
    return db.read_now(lambda s: {t: v for t, v in s.execute(query)})


def test_a_thumb_can_be_given_changed_and_taken_back(
    client: TestClient, db: Database, exchange: str
) -> None:
    for key, value in (("a", 1), ("b", -1), ("c", 0)):
        html = vote(client, exchange, value, key=key).text
        pressed = re.findall(r'data-testid="thumb-(\w+)"\s+aria-pressed="true"', html)
        assert pressed == {1: ["up"], -1: ["down"], 0: []}[value]
        assert current(db) == {"left": value or None}
    assert [e.value for e in rows(db, VoteEvent)] == [1, -1, None]  # nothing is overwritten


def test_the_two_sides_are_voted_apart(client: TestClient, db: Database, exchange: str) -> None:
    vote(client, exchange, 1, "left")
    vote(client, exchange, -1, "right")
    assert current(db) == {"left": 1, "right": -1}


def test_without_script_a_thumb_leads_back_to_the_answer(client: TestClient, exchange: str) -> None:
    form = {"side": "right", "value": "1", "key": "k"}
    page = client.post(f"/exchanges/{exchange}/votes", data=form).text
    assert page.count('aria-pressed="true"') == 1
    assert client.get("/").text.count('aria-pressed="true"') == 1  # after a reload too


def test_the_same_tap_sent_twice_is_one_vote(
    client: TestClient, db: Database, exchange: str
) -> None:
    for _ in range(3):
        assert vote(client, exchange, 1, key="same").status_code == 200
    assert len(rows(db, VoteEvent)) == 1


def test_votes_in_the_same_instant_are_all_kept(
    client: TestClient, db: Database, exchange: str
) -> None:
    start = threading.Barrier(6)
    statuses = []

    def tap(n: int) -> None:
        start.wait()
        statuses.append(vote(client, exchange, 1 if n % 2 else -1, key=f"tap{n}").status_code)

    threads = [threading.Thread(target=tap, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 6
    events = rows(db, VoteEvent)
    assert len(events) == 6
    assert current(db) == {"left": events[-1].value}


def test_an_answer_that_does_not_exist_cannot_be_voted_on(
    client: TestClient, exchange: str
) -> None:
    response = vote(client, "nada", 1)
    assert response.status_code == 404
    assert "não existe ou não é sua" in response.text
    assert response.headers["hx-retarget"] == "#notice"


@pytest.mark.parametrize("cookie", [None, "forjado"])
def test_the_answer_of_another_cannot_be_voted_on(
    client: TestClient, db: Database, exchange: str, cookie: str | None
) -> None:
    client.cookies.clear()
    if cookie:
        client.cookies.set("participante", cookie)
    assert vote(client, exchange, 1).status_code == 404
    assert not rows(db, VoteEvent)


def test_an_unfinished_answer_cannot_be_voted_on(
    client: TestClient, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_down(client, monkeypatch, 0.05)
    panes = client.post("/exchanges", data={"text": "O rato"}, headers=HTMX).text
    response = vote(client, exchange_id(panes), 1)
    assert response.status_code == 409
    assert "Espere a resposta terminar" in response.text
    assert not rows(db, VoteEvent)


@pytest.mark.parametrize("form", [{"value": "2"}, {"value": "x"}, {"side": "middle"}, {"key": ""}])
def test_a_vote_that_makes_no_sense_gets_a_sentence(
    client: TestClient, db: Database, exchange: str, form: dict[str, str]
) -> None:
    whole = {"side": "left", "value": "1", "key": "k", **form}
    response = client.post(f"/exchanges/{exchange}/votes", data=whole)
    assert response.status_code == 422
    assert "incompleto ou errado" in response.text
    assert not rows(db, VoteEvent)


def test_another_site_cannot_vote(client: TestClient, db: Database, exchange: str) -> None:
    for headers in (
        {"origin": "http://mau.test"},
        {"sec-fetch-site": "cross-site"},
        {"origin": "null"},
    ):
        form = {"side": "left", "value": "1", "key": "k"}
        response = client.post(f"/exchanges/{exchange}/votes", data=form, headers=headers)
        assert response.status_code == 403
    own = {"origin": "http://turma.test"}  # plain http in a classroom sends no sec-fetch-site
    assert client.post(f"/exchanges/{exchange}/votes", data=form, headers=own).status_code == 200
    assert len(rows(db, VoteEvent)) == 1
