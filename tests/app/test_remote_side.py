"""One side of the page, or both, written by another server."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from support import by_role, exchange_id

from app.config import Settings
from app.db import Database
from app.main import create_app, load_sources
from app.services.facts import Source
from app.tables import Role
from model.pair import Pair
from model.remote import RemoteModel

HTMX = {"hx-request": "true", "accept-language": "pt-BR"}


def a_client(sources: dict[Role, Source], folder: Path) -> TestClient:
    settings = Settings(database_url=f"sqlite:///{folder / 'test.db'}", leave_grace_s=60)
    db = Database(settings.database_url)
    db.upgrade()
    app = create_app(settings, db, sources)
    return TestClient(app, headers={"accept-language": "pt-BR"})


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which nobody answers for as long as the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_a_server_that_is_down_is_said_in_its_pane_and_the_other_goes_on(
    tmp_path: Path, pair: Pair, closed_port: int
) -> None:
    down = RemoteModel(
        url=f"http://127.0.0.1:{closed_port}/v1", name="llama", envelope="chat", api_key="secret"
    )
    with a_client({**by_role(pair), Role.TUNED: down}, tmp_path) as client:
        assert "llama, em outro servidor" in client.get("/").text
        page = client.post("/exchanges", data={"text": "Quem é o rei?"}).text
        assert "O servidor deste modelo não respondeu" in page
        assert page.count("O servidor deste modelo") == 1
        assert page.count('data-state="done"') == 2
        assert "secret" not in page + client.get("/").text
        assert client.get("/healthz").status_code == 200


def test_another_server_of_ours_answers_in_place_of_the_engine(
    tmp_path: Path, pair: Pair, openai_server: str
) -> None:
    there = RemoteModel(url=openai_server, name="base", envelope="raw")
    with a_client({**by_role(pair), Role.BASE: there}, tmp_path) as client:
        panes = client.post("/exchanges", data={"text": "O rei de Roma"}, headers=HTMX).text
        stream = client.get(f"/exchanges/{exchange_id(panes)}/stream").text
        assert "event: done" in stream
        page = client.get("/").text
        assert "O servidor deste modelo" not in page
        assert "base, em outro servidor" in page
        assert page.count('data-state="done"') == 2


def test_the_environment_says_who_answers(pair_folder: Path) -> None:
    settings = Settings(
        dois_treinos_base=pair_folder / "base",
        dois_treinos_tuned_url="http://sala.test/v1",
        dois_treinos_tuned_model="qwen",
    )
    sources = load_sources(settings)
    assert list(sources) == [Role.BASE, Role.TUNED]
    tuned = sources[Role.TUNED]
    assert isinstance(tuned, RemoteModel)
    assert (tuned.name, tuned.envelope) == ("qwen", "chat")
