"""The engine dies in the middle of an answer: a real one, of a checkpoint that breaks at a given token."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from support import HTMX, by_role, exchange_id, wait_until

from app.config import Settings
from app.db import Database
from app.main import create_app
from app.tables import Role
from model.checkpoint import Checkpoint, load_checkpoint
from model.pair import Pair

FAILED = "Houve uma falha no meio da resposta. Mande de novo."
STOPPED = "O motor que escreve as respostas parou e está sendo religado"


class Fatal(frozenset[int]):
    """End tokens of which the engine asks at every token: never one of them, until `left` is 0."""

    left = -1

    def __contains__(self, token: object) -> bool:
        self.left -= 1
        if self.left == 0:
            raise MemoryError
        return False


@pytest.fixture
def end_ids(base: Checkpoint) -> Fatal:
    return Fatal(base.end_ids)


@pytest.fixture
def own_base(pair_folder: Path, end_ids: Fatal) -> Checkpoint:
    """A base of this test's own, which it may damage."""
    return replace(load_checkpoint(pair_folder / "base"), end_ids=end_ids)


@pytest.fixture
def client(tmp_path: Path, pair: Pair, own_base: Checkpoint) -> TestClient:
    settings = Settings(database_url=f"sqlite:///{tmp_path / 'test.db'}", leave_grace_s=60)
    db = Database(settings.database_url)
    db.upgrade()
    app = create_app(settings, db, {**by_role(pair), Role.BASE: own_base})
    return TestClient(app, headers={"accept-language": "pt-BR"})


def test_an_engine_that_dies_is_said_on_the_page_and_the_next_prompt_is_answered(
    client: TestClient, end_ids: Fatal, tmp_path: Path
) -> None:
    with client:
        end_ids.left = 3
        page = client.post("/exchanges", data={"text": "O rei de Roma"}).text
        assert FAILED in page  # on one side or on both: the tuned one may have come to its end
        assert page.count('data-state="done"') == 2
        with sqlite3.connect(tmp_path / "test.db") as connection:
            query = "SELECT finish_reason FROM generation WHERE finish_reason = 'error'"
            assert connection.execute(query).fetchall()
        page = client.post("/exchanges", data={"text": "A rainha"}).text
        assert FAILED not in page
        health = client.get("/healthz").json()
        assert (health["engine"], health["engine_restarts"]) == ("ok", 1)


def test_while_the_engine_cannot_be_made_anew_the_room_is_told_to_wait(
    client: TestClient, end_ids: Fatal, own_base: Checkpoint
) -> None:
    with client:
        end_ids.left = 3
        layers = own_base.model.layers
        del own_base.model.layers
        panes = client.post("/exchanges", data={"text": "O rei de Roma"}, headers=HTMX).text
        stream = client.get(f"/exchanges/{exchange_id(panes)}/stream").text
        assert FAILED in stream
        refused = client.post("/exchanges", data={"text": "A rainha"}, headers=HTMX)
        assert refused.status_code == 503
        assert STOPPED in refused.text
        assert refused.headers["retry-after"] == "3"
        assert client.get("/healthz").status_code == 503
        own_base.model.layers = layers
        wait_until(lambda: client.get("/healthz").status_code == 200)
        assert FAILED not in client.post("/exchanges", data={"text": "A rainha"}).text
