"""Who may open rooms: the printed link and the password, and nobody else."""

import re
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from support import rows

from app.db import Database
from app.services import teachers
from app.tables import Room, RoomKey, Teacher, TeacherSession, now

PASSWORD = "tucanos voam alto"


@pytest.fixture
def link(db: Database) -> str:
    """What a start prints."""
    return db.write_now(lambda s: teachers.open_session(s, teachers.LINK_LASTS))


@pytest.fixture
def elsewhere(client: TestClient) -> TestClient:
    """Another browser."""
    return TestClient(
        client.app, base_url="http://turma.test", headers={"accept-language": "pt-BR"}
    )


def test_the_printed_link_signs_a_browser_in_and_a_room_is_one_click(
    client: TestClient, db: Database, link: str
) -> None:
    page = client.get(f"/teacher/enter/{link}")
    assert page.url.path == "/teacher"
    assert 'data-testid="create-room"' in page.text
    assert client.cookies["professor"] != link  # the browser has a session of its own
    host = client.post("/teacher/rooms")
    assert host.history[0].status_code == 303
    assert re.fullmatch(r"/host/[\w-]{32}", host.url.path)
    (room,) = rows(db, Room)
    listed = client.get("/teacher").text
    assert room.code in listed
    opened = client.post(f"/teacher/rooms/{room.code}/keys", follow_redirects=False)
    assert opened.headers["location"] != host.url.path
    assert len(rows(db, RoomKey)) == 4  # the keys of before go on working


@pytest.mark.parametrize("link", ["errado", "x" * 32])
def test_a_wrong_link_is_told_and_opens_nothing(client: TestClient, link: str) -> None:
    response = client.get(f"/teacher/enter/{link}")
    assert response.status_code == 404
    assert "create-room" not in response.text
    assert "professor" not in client.cookies


def test_an_old_link_opens_nothing(client: TestClient, db: Database, link: str) -> None:
    def age(session: object) -> None:
        session.query(TeacherSession).update(  # type: ignore[attr-defined]
            {"expires_at": now() - timedelta(seconds=1)}
        )

    db.write_now(age)
    response = client.get(f"/teacher/enter/{link}")
    assert response.status_code == 404
    assert "Este link não vale mais" in response.text


def test_nobody_else_opens_rooms(client: TestClient, db: Database, link: str) -> None:
    client.get(f"/teacher/enter/{link}")
    client.post("/teacher/rooms")
    (room,) = rows(db, Room)
    for cookie in (None, "forjado"):
        client.cookies.clear()
        if cookie:
            client.cookies.set("professor", cookie)
        assert client.post("/teacher/rooms").status_code == 403
        assert client.post(f"/teacher/rooms/{room.code}/keys").status_code == 403
        page = client.get("/teacher").text
        assert room.code not in page
        assert "create-room" not in page
    assert len(rows(db, Room)) == 1
    assert len(rows(db, RoomKey)) == 2


def test_the_first_password_is_set_by_the_link_and_opens_other_browsers(
    client: TestClient, elsewhere: TestClient, link: str
) -> None:
    assert "Defina uma senha" in elsewhere.get(f"/teacher/enter/{link}").text
    short = elsewhere.post("/teacher/password", data={"password": "curta"})
    assert short.status_code == 422
    assert "8 caracteres" in short.text
    page = elsewhere.post("/teacher/password", data={"password": PASSWORD})
    assert 'data-testid="create-room"' in page.text
    assert PASSWORD not in page.text
    wrong = client.post("/teacher/session", data={"password": "outra senha"})
    assert wrong.status_code == 403
    assert "A senha não confere" in wrong.text
    assert 'data-testid="create-room"' in (
        client.post("/teacher/session", data={"password": PASSWORD}).text
    )


def test_a_student_cannot_take_the_server_by_being_first(client: TestClient, db: Database) -> None:
    assert 'name="password"' not in client.get("/teacher").text
    response = client.post("/teacher/password", data={"password": PASSWORD})
    assert response.status_code == 403
    assert not db.read_now(teachers.has_password)


def test_a_password_is_set_once(client: TestClient, db: Database, link: str) -> None:
    client.get(f"/teacher/enter/{link}")
    assert "Defina uma senha" in client.get("/teacher").text
    client.post("/teacher/password", data={"password": PASSWORD})
    again = client.post("/teacher/password", data={"password": "uma outra senha"})
    assert again.status_code == 409
    assert "já foi definida" in again.text
    db.read_now(lambda s: teachers.check_password(s, PASSWORD))
    (teacher,) = rows(db, Teacher)
    assert teacher.password_hash.startswith("$argon2id$")


def test_guessing_the_password_is_slowed_down(client: TestClient, db: Database) -> None:
    db.write_now(lambda s: teachers.set_password(s, PASSWORD))
    statuses = [
        client.post("/teacher/session", data={"password": f"tentativa {n}"}).status_code
        for n in range(11)
    ]
    assert statuses == [403] * 10 + [429]
    assert client.post("/teacher/session", data={"password": PASSWORD}).status_code == 429


def test_signing_out_closes_this_browser(client: TestClient, link: str) -> None:
    client.get(f"/teacher/enter/{link}")
    token = client.cookies["professor"]
    client.post("/teacher/sign-out")
    client.cookies.set("professor", token)  # a copy of the cookie does not help
    assert "create-room" not in client.get("/teacher").text


def test_another_site_cannot_create_rooms(client: TestClient, db: Database, link: str) -> None:
    client.get(f"/teacher/enter/{link}")
    for path in ("rooms", "password", "session", "sign-out"):
        response = client.post(
            f"/teacher/{path}", data={"password": PASSWORD}, headers={"origin": "http://mau.test"}
        )
        assert response.status_code == 403
    assert not rows(db, Room)
    assert not db.read_now(teachers.has_password)
