import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from fastapi.testclient import TestClient
from sqlalchemy import inspect
from support import by_role, rows

from app import PROJECT
from app.config import Settings
from app.db import MIGRATIONS, Database
from app.errors import Unusable
from app.main import create_app, from_settings
from app.tables import Generation, Table, now
from model.pair import Pair


def run_cli(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from app.cli import main; main()", *args],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=PROJECT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **env},
    )


def test_healthz_answers_when_all_is_well(client: TestClient, pair: Pair) -> None:
    body = client.get("/healthz").json()
    assert body == {
        "status": "ok",
        "database": "ok",
        "engine": "ok",
        "engine_restarts": 0,
        "pair": {"base": pair.base.sha256, "tuned": pair.tuned.sha256},
    }


def test_migrations_make_exactly_the_tables(db: Database) -> None:
    with db.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_object": lambda o, name, *_: name != "current_vote"}
        )
        assert compare_metadata(context, Table.metadata) == []


def test_migrations_go_down_and_up_again(db: Database) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["engine"] = db.engine
    command.downgrade(config, "base")
    assert set(inspect(db.engine).get_table_names()) <= {"alembic_version"}
    db.upgrade()
    assert "vote_event" in inspect(db.engine).get_table_names()


def test_the_same_weights_are_one_row_however_often_the_server_starts(
    settings: Settings, db: Database, pair: Pair
) -> None:
    from app.tables import Checkpoint

    for _ in range(2):
        with TestClient(create_app(settings, Database(settings.database_url), by_role(pair))):
            pass
    assert [c.role for c in rows(db, Checkpoint)] == ["base", "tuned"]
    assert [c.sha256 for c in rows(db, Checkpoint)] == [pair.base.sha256, pair.tuned.sha256]


def test_what_a_killed_server_left_unfinished_is_closed(
    client: TestClient, settings: Settings, db: Database, pair: Pair
) -> None:
    from sqlalchemy import update

    client.post("/exchanges", data={"text": "O rato"})
    long_ago = now() - timedelta(hours=1)  # on PostgreSQL another process may write the newest
    unfinished = update(Generation).values(finish_reason=None, created_at=long_ago)
    db.write_now(lambda s: s.execute(unfinished))
    assert client.get("/").text.count("Houve uma falha no meio da resposta") == 2
    with TestClient(create_app(settings, Database(settings.database_url), by_role(pair))):
        pass
    assert [g.finish_reason for g in rows(db, Generation)] == ["error", "error"]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def test_a_file_that_is_no_database_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Isto não é um banco de dados. " * 20)
    with pytest.raises(Unusable, match=r"cannot be used.*not a database"):
        Database(f"sqlite:///{tmp_path / 'notes.txt'}").upgrade()
    with pytest.raises(Unusable, match="cannot be used"):
        Database("mysql://app@localhost/app")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_locked_database_is_a_sentence_and_nothing_is_lost(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy import event

    engine = client.app.state.services.db.engine  # type: ignore[attr-defined]
    engine.dispose()
    event.listen(engine, "connect", lambda c, _: c.execute("PRAGMA busy_timeout=100"))
    with locked(tmp_path / "test.db"):
        response = client.post("/exchanges", data={"text": "O rato"})
        assert response.status_code == 503
        assert "O banco de dados não aceitou agora" in response.text
        assert response.headers["retry-after"] == "3"
        assert ">O rato</textarea>" in response.text
    assert client.post("/exchanges", data={"text": "O rato"}).status_code == 200


def test_a_database_that_cannot_be_written_stops_the_start_with_a_sentence(tmp_path: Path) -> None:
    """A folder stands where the file should be: there not even root can write."""
    with pytest.raises(Unusable, match=r"cannot be used.*unable to open"):
        Database(f"sqlite:///{tmp_path}").upgrade()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_read_only_database_is_a_sentence(db: Database, settings: Settings) -> None:
    url = settings.database_url.replace("sqlite:///", "sqlite:///file:") + "?mode=ro&uri=true"
    with pytest.raises(Unusable, match=r"cannot be used.*readonly"):
        Database(url).upgrade()


def test_an_address_that_is_none_is_a_sentence() -> None:
    with pytest.raises(Unusable, match="not a database address"):
        Database("nonsense")


def test_an_unreachable_server_is_a_sentence() -> None:
    with pytest.raises(Unusable, match="cannot be used"):
        Database("postgresql://app@127.0.0.1:1/app?connect_timeout=2").upgrade()


def test_a_missing_checkpoint_stops_the_start_with_a_sentence(tmp_path: Path) -> None:
    settings = Settings(
        dois_treinos_base=tmp_path / "nada", database_url=f"sqlite:///{tmp_path}/t.db"
    )
    with pytest.raises(Unusable, match="There is no checkpoint folder"):
        from_settings(settings)


def test_a_taken_port_is_told_with_another_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run_cli("serve", "--port", str(port))
    assert result.returncode == 1
    assert f"make run PORT={port + 1}" in result.stderr
    assert "Traceback" not in result.stderr


def test_generate_prints_json_and_the_same_seed_the_same_text(pair_folder: Path) -> None:
    ask = [
        "generate",
        "--model",
        str(pair_folder / "tuned"),
        "--prompt",
        "O rei",
        "--n",
        "2",
        "--seed",
        "5",
        "--json",
    ]
    first, second = run_cli(*ask), run_cli(*ask)
    answers = json.loads(first.stdout)
    assert [a["seed"] for a in answers] == [5, 6]
    assert {"text", "n_tokens", "finish_reason", "seed"} == set(answers[0])
    assert answers == json.loads(second.stdout)


def test_evaluate_prints_bits_per_byte_and_the_share_of_questions(
    pair_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "t.txt").write_text("O rato roeu a roupa do rei de Roma.")
    (tmp_path / "q.jsonl").write_text(
        '{"p": "O rei", "re": "", "c": "tudo"}\n{"p": "O rei", "re": "^$x", "c": "nada"}\n'
    )
    result = run_cli(
        "evaluate", "--model", str(pair_folder / "base"), "--text", str(tmp_path / "t.txt"),
        "--questions", str(tmp_path / "q.jsonl"), "--json",
    )  # fmt: skip
    report = json.loads(result.stdout)
    assert report["n_bytes"] == 35
    assert 0 < report["bits_per_byte"] < 30
    assert report["accuracy"] == 0.5
    assert report["accuracy_by_category"] == {"nada": 0.0, "tudo": 1.0}


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["generate", "--model", "nada", "--prompt", "x"], "There is no checkpoint folder nada"),
        (
            ["evaluate", "--model", "nada", "--text", "nada.txt"],
            "There is no checkpoint folder nada",
        ),
        (["train", "pretrain", "--corpus", "nada"], "There is no prepared corpus in nada"),
        (["serve", "--port", "80000"], "PORT"),
        (["train", "nada"], "usage"),
    ],
)
def test_what_a_person_did_wrong_is_a_sentence(args: list[str], sentence: str) -> None:
    result = run_cli(*args)
    assert result.returncode == 1
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr


def test_doctor_names_what_is_wrong(pair_folder: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(pair_folder / "tuned", tmp_path / "tuned")
    shutil.copy(pair_folder / "base" / "model.safetensors", broken)
    env = {
        "DOIS_TREINOS_BASE": str(pair_folder / "base"),
        "DATABASE_URL": f"sqlite:///{tmp_path}/d.db",
    }
    well = run_cli("doctor", **env, DOIS_TREINOS_TUNED=str(pair_folder / "tuned"))
    assert well.returncode == 0, well.stdout
    ill = run_cli("doctor", **env, DOIS_TREINOS_TUNED=str(broken))
    assert ill.returncode == 1
    assert "FAILED  checkpoints" in ill.stdout
    assert "ok      database" in ill.stdout
