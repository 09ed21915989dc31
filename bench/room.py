"""A full room from one address: `python -m bench.room --participants 300`.

A real server in a process of its own, every phone with its stream open, all over HTTP from this process: how long joins, answers
and votes take, whether each counts exactly once, how far behind the projector is, and what a killed server loses.
"""

import argparse
import asyncio
import json
import os
import random
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2
import numpy as np

HTMX = {"hx-request": "true"}
SPREAD_S = {"join": 4.0, "answer": 2.5, "vote": 2.5}  # over which a class taps
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # shared: to make one for each phone takes long
RETRIED = 0.1  # share of the votes that are sent twice, as over a bad line


class Server:
    """The app from the command line, on a port and a database that outlive it."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.database = folder / "room.db"
        self.address = f"http://127.0.0.1:{self.port}"

    def start(self) -> str:
        """The teacher's link."""
        environment = os.environ | {"DATABASE_URL": f"sqlite:///{self.database}"}
        program = str(Path(sys.executable).with_name("dois-treinos"))
        command = [program, "serve", "--port", str(self.port)]
        self.process = subprocess.Popen(  # noqa: S603
            command, env=environment, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        for line in self.process.stdout:
            if link := re.search(r"/teacher/enter/\S+", line):
                break
        else:
            raise SystemExit("The server did not start.")
        for _ in range(600):
            try:
                if httpx2.get(f"{self.address}/healthz").status_code == 200:
                    return link[0]
            except httpx2.HTTPError:
                pass
            time.sleep(0.05)
        raise SystemExit("The server did not become well.")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def cpu_s(self) -> float:
        """Seconds of processor time so far; 0 where the system does not say."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def count(self, query: str) -> int:
        with sqlite3.connect(self.database, timeout=10) as connection:
            return int(connection.execute(query).fetchone()[0])


class Host:
    """The host's window, as a script without a browser."""

    def __init__(self, address: str) -> None:
        self.client = httpx2.AsyncClient(
            base_url=address, follow_redirects=True, timeout=60, verify=NO_TLS
        )

    async def open(self, link: str) -> None:
        await self.client.get(link)
        page = await self.client.post("/teacher/rooms")
        self.path = page.url.path
        self.code = found(r'data-testid="room-code">(\w+)', page.text)
        self.projector = found(r'href="(/projector/[\w-]+)"', page.text)

    async def start(self, **options: str) -> None:
        page = (await self.client.get(self.path)).text
        prompt = found(
            r'name="prompt_id" value="(\d+)"', page.split("um número de 1 a 100")[0][-600:]
        )
        await self.post(
            "rounds", page, prompt_id=prompt, asks_people="true", is_blind="true", **options
        )

    async def move(self, to: str) -> None:
        await self.post("phase", (await self.client.get(self.path)).text, to=to)

    async def post(self, what: str, page: str, **data: str) -> None:
        data["version"] = found(r'name="version" value="(\d+)"', page)
        response = await self.client.post(f"{self.path}/{what}", data=data, headers=HTMX)
        if response.status_code != 200:
            raise SystemExit(f"{what}: {response.status_code} {response.text[:200]}")

    async def until(self, text: str) -> None:
        for _ in range(400):
            if text in (await self.client.get(self.path)).text:
                return
            await asyncio.sleep(0.25)
        raise SystemExit(f"{text} never came.")


class Phone:
    """One student: a stream that comes back by itself, and taps."""

    def __init__(self, address: str, code: str) -> None:
        self.code = code
        self.client = httpx2.AsyncClient(base_url=address, timeout=None, verify=NO_TLS)
        self.phase, self.seen_at, self.heard_at = "", 0.0, 0.0

    async def join(self) -> None:
        response = await self.client.post(f"/s/{self.code}/join")
        if response.status_code != 303:
            raise SystemExit(f"join: {response.status_code} {response.text[:200]}")

    async def tap(self, what: str, **data: str) -> int:
        path = f"/s/{self.code}/{what}"
        response = await self.client.post(path, data=data, headers=HTMX)
        return response.status_code

    async def follow(self) -> None:
        """When the line is lost, again a little later: as the page does once it waits its longest (in base.html)."""
        while True:
            try:
                async with self.client.stream("GET", f"/s/{self.code}/stream") as response:
                    async for event in httpx2.EventSource(response):
                        if match := re.search(r'data-phase="([\w-]+)"', event.data):
                            self.phase, self.seen_at = match[1], time.perf_counter()
                        self.heard_at = time.perf_counter()
            except httpx2.HTTPError:
                pass
            await asyncio.sleep(1.5 * random.uniform(0.7, 1.3))


class Projector:
    """Counts what it shows."""

    def __init__(self, address: str, path: str) -> None:
        self.client = httpx2.AsyncClient(base_url=address, timeout=None, verify=NO_TLS)
        self.path, self.n_voted, self.changed_at = path, 0, 0.0

    async def follow(self) -> None:
        while True:
            try:
                async with self.client.stream("GET", f"{self.path}/stream") as response:
                    async for event in httpx2.EventSource(response):
                        match = re.search(r'data-testid="n-voted" data-n="(\d+)"', event.data)
                        if match and int(match[1]) != self.n_voted:
                            self.n_voted, self.changed_at = int(match[1]), time.perf_counter()
            except httpx2.HTTPError:
                await asyncio.sleep(0.5)


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.S)
    if match is None:
        raise SystemExit(f"The page has changed: {pattern} is not in it.")
    return match[1]


async def all_within(
    spread_s: float, phones: list[Phone], act: Callable[[Phone], Awaitable[object]]
) -> tuple[list[float], float, list[object]]:
    """Everybody acts once at some moment of `spread_s`: seconds of each, of all, and what came back."""
    took: list[float] = []
    results: list[object] = []
    rng = random.Random(0)
    started = time.perf_counter()

    async def one(phone: Phone, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        sent = time.perf_counter()
        results.append(await act(phone))
        took.append(time.perf_counter() - sent)

    await asyncio.gather(*(one(p, rng.random() * spread_s) for p in phones))
    return took, time.perf_counter() - started, results


def say(what: str, **figures: object) -> None:
    print(json.dumps({"what": what} | figures), flush=True)


def quantiles(values: list[float]) -> list[float]:
    return [round(float(q) * 1000, 1) for q in np.quantile(values, [0.5, 0.95, 0.99])]


async def reached(phones: list[Phone], phase: str, since: float) -> list[float]:
    """How long after `since` each phone showed a phase."""
    while any(p.phase != phase for p in phones):
        await asyncio.sleep(0.05)
        if time.perf_counter() - since > 60:
            raise SystemExit(f"{sum(p.phase != phase for p in phones)} phones never showed {phase}")
    return [p.seen_at - since for p in phones]


async def play(server: Server, n: int) -> None:
    host = Host(server.address)
    await host.open(server.start())
    phones = [Phone(server.address, host.code) for _ in range(n)]

    took, seconds, _ = await all_within(SPREAD_S["join"], phones, lambda p: p.join())
    say("joins", n=n, within_s=round(seconds, 2), ms_p50_p95_p99=quantiles(took))
    projector = Projector(server.address, host.projector)
    following = [asyncio.create_task(p.follow()) for p in [*phones, projector]]
    await reached(phones, "lobby", time.perf_counter())

    moved = time.perf_counter()
    await host.start(n_samples="60")
    say(
        "phones follow",
        phase="human-answers",
        ms_p50_p95_p99=quantiles(await reached(phones, "human-answers", moved)),
    )
    took, seconds, codes = await all_within(
        SPREAD_S["answer"], phones, lambda p: p.tap("answer", text=str(random.randint(1, 100)))
    )
    kept = server.count("SELECT count(*) FROM human_answer")
    say(
        "answers",
        within_s=round(seconds, 2),
        ms_p50_p95_p99=quantiles(took),
        refused=codes.count(409),
        kept=kept,
    )

    moved = time.perf_counter()
    await host.move("answers")
    await host.until('id="step-voting"')
    say("both answers and 120 samples written and shown", s=round(time.perf_counter() - moved, 2))
    moved = time.perf_counter()
    await host.move("voting")
    say(
        "phones follow",
        phase="voting",
        ms_p50_p95_p99=quantiles(await reached(phones, "voting", moved)),
    )

    rng = random.Random(1)

    taps: list[float] = []

    async def vote(phone: Phone) -> int:
        worst = 0
        for side in ("left", "right"):
            data = {
                "kind": "thumb",
                "target": side,
                "value": rng.choice(("1", "-1")),
                "key": f"k{side}",
            }
            for _ in range(2 if rng.random() < RETRIED else 1):
                sent = time.perf_counter()
                worst = max(worst, await phone.tap("votes", **data))
                taps.append(time.perf_counter() - sent)
        return worst

    busy = server.cpu_s(), time.process_time()
    _, seconds, codes = await all_within(SPREAD_S["vote"], phones, vote)
    acknowledged = time.perf_counter()
    busy = server.cpu_s() - busy[0], time.process_time() - busy[1]
    while projector.n_voted < n:
        await asyncio.sleep(0.02)
        if time.perf_counter() - acknowledged > 30:
            break
    say(
        "votes, two of each person and some sent twice, with all streams open",
        within_s=round(seconds, 2),
        ms_p50_p95_p99=quantiles(taps),
        n=len(taps),
        not_accepted=sum(code != 200 for code in codes),
        cpu_s_server_phones=[round(seconds, 2) for seconds in busy],
        kept=server.count("SELECT count(*) FROM vote_event"),
        projector_behind_s=round(projector.changed_at - acknowledged, 2),
        projector_shows=projector.n_voted,
    )

    killed = time.perf_counter()
    server.kill()
    await asyncio.to_thread(server.start)
    up = time.perf_counter()
    for _ in range(600):
        if all(p.heard_at > killed for p in phones):
            break
        await asyncio.sleep(0.05)
    back = [p.heard_at - up for p in phones if p.heard_at > killed]
    say(
        "kill -9 while voting",
        server_back_s=round(up - killed, 2),
        phones_back=len(back),
        phones_back_s_after_server=round(max(back), 2),
        votes_kept=server.count("SELECT count(*) FROM vote_event"),
    )
    codes = await asyncio.gather(
        *(p.tap("votes", kind="preference", target="pair", choice="tie", key="p") for p in phones)
    )
    say("votes after the restart", accepted=list(codes).count(200))
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)
    server.process.terminate()
    server.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--participants", type=int, default=300)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Server(Path(folder)), args.participants))


if __name__ == "__main__":
    main()
