"""The real app with a tiny real pair, on a real database: SQLite always, PostgreSQL where it can be started."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from support import by_role, missing, serving

from app.config import Settings
from app.db import Database
from app.main import create_app
from model.pair import Pair, load_pair


@pytest.fixture(scope="session")
def pair(pair_folder: Path) -> Pair:
    return load_pair(pair_folder / "base", pair_folder / "tuned")


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty PostgreSQL: TEST_DATABASE_URL, or a server of our own in a temporary folder."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
        return
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    found = shutil.which("initdb") or (binaries and str(binaries[-1] / "initdb"))
    if not found:
        missing("no PostgreSQL here: install Debian's postgresql, or set TEST_DATABASE_URL")
    bin_folder = Path(found).parent
    folder = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())  # noqa: S607 (short path: sockets)
    as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    if os.geteuid() != 0:
        as_user = []  # PostgreSQL refuses to run as root, and only then needs another user
    else:
        shutil.chown(folder, "postgres", "postgres")
    data, socket = str(folder / "data"), str(folder)
    run = [
        *as_user,
        str(bin_folder / "initdb"),
        "-D",
        data,
        "-U",
        "app",
        "-A",
        "trust",
        "-E",
        "UTF8",
    ]
    subprocess.run([*run, "--locale=C.UTF-8"], check=True, capture_output=True, cwd=folder)
    control = [*as_user, str(bin_folder / "pg_ctl"), "-D", data, "-w", "-l", str(folder / "log")]
    options = f"-k {socket} -c listen_addresses="
    subprocess.run([*control, "-o", options, "start"], check=True, capture_output=True, cwd=folder)
    try:
        yield f"postgresql+psycopg://app@/postgres?host={socket}"
    finally:
        subprocess.run(
            [*control, "-m", "immediate", "stop"], check=True, capture_output=True, cwd=folder
        )
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Every test that uses it runs on both databases, each time on an empty one."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.db'}"
    url: str = request.getfixturevalue("postgres_url")
    schema = f"dois_treinos_{os.environ.get('PYTEST_XDIST_WORKER', 'test')}"  # nobody else's
    db = Database(url)
    with db.engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA IF EXISTS {schema} CASCADE"))
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    db.close()
    return f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3D{schema}"


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(database_url=database_url, leave_grace_s=60, max_exchanges=8)


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    """The database as a test looks into it."""
    db = Database(settings.database_url)
    db.upgrade()
    yield db
    db.close()


@pytest.fixture
def client(settings: Settings, db: Database, pair: Pair) -> Iterator[TestClient]:
    """A visitor's browser without script, on the running app."""
    app = create_app(settings, Database(settings.database_url), by_role(pair))
    with TestClient(
        app, base_url="http://turma.test", headers={"accept-language": "pt-BR"}
    ) as client:
        yield client


@pytest.fixture(scope="session")
def openai_server(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The real app on a real port: the address of its API."""
    folder = tmp_path_factory.mktemp("openai")
    settings = Settings(database_url=f"sqlite:///{folder / 'test.db'}", dois_treinos_exact=True)
    db = Database(settings.database_url)
    db.upgrade()
    with serving(create_app(settings, db, by_role(pair))) as address:
        yield f"{address}/v1"
