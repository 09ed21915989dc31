"""The server as it is started, in processes of its own: killed and restarted, two on one database, a locked database."""

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from support import HTMX, rows

from app.db import Database
from app.tables import VoteEvent

PROGRAM = str(Path(sys.executable).with_name("dois-treinos"))
Start = Callable[..., "Server"]


class Server:
    """One `dois-treinos serve`."""

    def __init__(self, url: str, port: int, pair: Path) -> None:
        command = [PROGRAM, "serve", "--port", str(port)]
        command += ["--base", str(pair / "base"), "--tuned", str(pair / "tuned")]
        self.port, self.browsers = port, list[httpx2.Client]()
        self.process = subprocess.Popen(
            command, env=os.environ | {"DATABASE_URL": url}, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        found = None
        while found is None:
            line = self.process.stdout.readline()
            assert line, "the server did not start"
            found = re.search(r"/teacher/enter/\S+", line)
        self.link = found[0]

    def browser(self) -> httpx2.Client:
        """Somebody's browser; it tries again until the server listens."""
        transport = httpx2.HTTPTransport(retries=5)
        address = f"http://127.0.0.1:{self.port}"
        self.browsers.append(
            httpx2.Client(base_url=address, transport=transport, follow_redirects=True, timeout=30)
        )
        return self.browsers[-1]

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(20)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def start(database_url: str, pair_folder: Path) -> Iterator[Start]:
    started: list[Server] = []

    def new(port: int | None = None) -> Server:
        started.append(Server(database_url, port or free_port(), pair_folder))
        return started[-1]

    yield new
    for server in started:
        for browser in server.browsers:
            browser.close()
        if server.process.poll() is None:
            server.stop()
        assert server.process.stdout
        server.process.stdout.close()


class Room:
    """A room that is open to votes, as its host made it over HTTP."""

    def __init__(self, server: Server) -> None:
        self.host = server.browser()
        self.host.get(server.link)
        page = self.host.post("/teacher/rooms")
        self.path = page.url.path
        self.code = found(r'data-testid="room-code">(\w+)', page.text)
        self.projector = found(r'href="(/projector/[\w-]+)"', page.text)
        prompt = found(r'name="prompt_id" value="(\d+)"', page.text)
        self.act("rounds", prompt_id=prompt, is_blind="true")
        deadline = time.monotonic() + 60
        while 'id="step-voting"' not in self.host.get(self.path).text:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        self.act("phase", to="voting")

    def act(self, what: str, **data: str) -> httpx2.Response:
        page = self.host.get(self.path).text
        data["version"] = found(r'name="version" value="(\d+)"', page)
        response = self.host.post(f"{self.path}/{what}", data=data)
        assert response.status_code == 200, response.text
        return response

    def join(self, server: Server) -> httpx2.Client:
        student = server.browser()
        assert student.post(f"/s/{self.code}/join").status_code == 200
        return student

    def vote(self, student: httpx2.Client, side: str = "left", key: str = "k") -> int:
        data = {"kind": "thumb", "target": side, "value": "1", "key": key}
        return student.post(f"/s/{self.code}/votes", data=data, headers=HTMX).status_code


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, f"{pattern} is not in {text[:2000]}"
    return match[1]


def first_event(browser: httpx2.Client, path: str) -> str:
    lines: list[str] = []
    with browser.stream("GET", path) as response:
        for line in response.iter_lines():
            if line.startswith("data:"):
                lines.append(line)
            elif lines:
                return "\n".join(lines)
    raise AssertionError("the stream ended without an event")


def test_a_killed_server_loses_no_vote_and_phones_come_back(start: Start, db: Database) -> None:
    server = start()
    room = Room(server)
    students = [room.join(server) for _ in range(3)]
    assert [room.vote(student) for student in students] == [200, 200, 200]
    server.stop(signal.SIGKILL)
    again = start(server.port)
    assert len(rows(db, VoteEvent)) == 3
    for student in students:  # with the cookie they have
        event = first_event(student, f"/s/{room.code}/stream")
        assert 'data-phase="voting"' in event
        assert 'data-testid="answer"' in event
        assert not re.search(r"tuned|--base|checkpoint", event)  # who is who is not in it
        assert room.vote(student) == 200  # the same tap again is no other vote
    assert len(rows(db, VoteEvent)) == 3
    assert 'data-n="3"' in room.host.get(room.path).text
    assert again.process.poll() is None


def test_a_vote_in_one_process_is_seen_in_another(start: Start, database_url: str) -> None:
    if not database_url.startswith("postgresql"):
        return  # on SQLite one process serves
    here, there = start(), start()
    room = Room(here)
    student = room.join(here)
    seen: dict[str, list[str]] = {room.projector: [], room.path: []}

    def watch(path: str) -> None:
        with there.browser().stream("GET", f"{path}/stream") as response:
            for line in response.iter_lines():
                if match := re.search(r'data-testid="n-voted" data-n="(\d+)"', line):
                    seen[path].append(match[1])
                    if match[1] == "1":
                        return

    watching = [threading.Thread(target=watch, args=(path,), daemon=True) for path in seen]
    for thread in watching:
        thread.start()
    deadline = time.monotonic() + 20
    while not all(seen.values()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert room.vote(student) == 200
    for thread in watching:
        thread.join(10)
    assert [(shown[0], shown[-1]) for shown in seen.values()] == [("0", "1"), ("0", "1")]


def test_votes_wait_for_a_locked_database_and_count(start: Start, database_url: str) -> None:
    if not database_url.startswith("sqlite"):
        return
    server = start()
    room = Room(server)
    student = room.join(server)
    lock = sqlite3.connect(database_url.removeprefix("sqlite:///"), isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    timer = threading.Timer(3, lambda: None)
    timer.start()
    codes: list[int] = []
    voting = threading.Thread(target=lambda: codes.append(room.vote(student)))
    voting.start()
    timer.join()
    assert codes == []  # it waits
    lock.execute("COMMIT")
    lock.close()
    voting.join(20)
    assert codes == [200]


def test_a_vote_right_after_closing_is_refused(start: Start, db: Database) -> None:
    server = start()
    room = Room(server)
    student = room.join(server)
    room.act("phase", to="closed")
    assert room.vote(student) == 409
    assert rows(db, VoteEvent) == []
