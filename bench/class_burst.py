"""A whole class sends at once: `python -m bench.class_burst --participants 60 120 300`.

A real server in a process of its own, real HTTP and SSE, one prompt of each participant to both models within a
second, and votes on an older answer while the engine is busy. Prints a row for each size of the class.
"""

import argparse
import asyncio
import json
import os
import random
import re
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import numpy as np
from sqlalchemy import create_engine, text

PROMPTS = (
    "Quem é a mãe de Anitta?",
    "Diga bem rápido: o nome de uma fruta e de uma ferramenta?",
    "Diga bem rápido: um número de 1 a 100",
    "Diga bem rápido: os três melhores restaurantes de Paris",
    "Diga bem rápido: qual a cidade mais alta do Brasil?",
)
HTMX = {"hx-request": "true"}
# shared: to make one for each participant takes this process longer than the server takes to answer
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(slots=True)
class Times:
    """Seconds since the participant sent, of all participants."""

    first_token: list[float] = field(default_factory=list)
    done: list[float] = field(default_factory=list)
    votes: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@contextmanager
def server(folder: Path, max_exchanges: int) -> Iterator[str]:
    """The real app, from the command line, on a port of its own."""
    environment = os.environ | {
        "DATABASE_URL": f"sqlite:///{folder / 'burst.db'}",
        "MAX_EXCHANGES": str(max_exchanges),
    }
    command = [str(Path(sys.executable).with_name("dois-treinos")), "serve", "--port", "0"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        assert process.stdout
        line = process.stdout.readline()
        address = re.search(r"http://\S+", line)
        if address is None:
            raise SystemExit(f"The server did not start: {line}")
        wait_until_well(address[0])
        yield address[0]
    finally:
        process.terminate()
        process.wait()


def wait_until_well(address: str) -> None:
    for _ in range(600):
        try:
            if httpx2.get(f"{address}/healthz").status_code == 200:
                return
        except httpx2.HTTPError:
            pass
        time.sleep(0.1)
    raise SystemExit("The server did not become well.")


async def participant(address: str, delay_s: float, prompt: str, times: Times) -> None:
    """One phone: an older exchange, the vote on it in the burst, and the prompt of the burst."""
    async with httpx2.AsyncClient(base_url=address, timeout=120, verify=NO_TLS) as client:
        try:
            await asyncio.sleep(delay_s)
            started = time.perf_counter()
            page = await client.post("/exchanges", data={"text": prompt}, headers=HTMX)
            if page.status_code != 200:
                times.errors.append(f"{page.status_code} {page.text[:80]}")
                return
            public_id = found(r'id="text-left-([\w-]+)"', page.text)
            await follow(client, public_id, started, times)
        except httpx2.HTTPError as error:
            times.errors.append(type(error).__name__)


async def follow(client: httpx2.AsyncClient, public_id: str, started: float, times: Times) -> None:
    """Read the stream to its end."""
    is_first = True
    async with client.stream("GET", f"/exchanges/{public_id}/stream") as response:
        async for event in httpx2.EventSource(response):
            if is_first and event.data.strip():
                times.first_token.append(time.perf_counter() - started)
                is_first = False
            if event.event == "done":
                times.done.append(time.perf_counter() - started)
                return
    times.errors.append("the stream ended early")


async def voter(
    address: str, public_id: str, cookie: str, until: asyncio.Event, times: Times
) -> None:
    """Votes on one finished answer, again and again, while the burst lasts."""
    cookies = {"participante": cookie}
    async with httpx2.AsyncClient(
        base_url=address, cookies=cookies, timeout=60, verify=NO_TLS
    ) as client:
        n = 0
        while not until.is_set():
            started = time.perf_counter()
            data = {"side": "left", "value": str(random.choice((1, -1))), "key": f"k{n}"}
            response = await client.post(f"/exchanges/{public_id}/votes", data=data, headers=HTMX)
            if response.status_code != 200:
                times.errors.append(f"vote {response.status_code}")
            times.votes.append(time.perf_counter() - started)
            n += 1
            await asyncio.sleep(0.02)


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise SystemExit(f"The page has changed: {pattern} is not in it.")
    return match[1]


async def burst(address: str, n: int) -> Times:
    times = Times()
    async with httpx2.AsyncClient(base_url=address, timeout=60, verify=NO_TLS) as client:
        page = await client.post("/exchanges", data={"text": "Oi"}, headers=HTMX)
        public_id = found(r'id="text-left-([\w-]+)"', page.text)
        await follow(client, public_id, time.perf_counter(), Times())
        cookie = client.cookies["participante"]
    over = asyncio.Event()
    voting = asyncio.create_task(voter(address, public_id, cookie, over, times))
    rng = random.Random(0)
    await asyncio.gather(
        *(participant(address, rng.random(), rng.choice(PROMPTS), times) for _ in range(n))
    )
    over.set()
    await voting
    return times


def row(n: int, times: Times, n_generations: int, seconds: float) -> dict[str, object]:
    def quantiles(values: list[float]) -> list[float]:
        return [
            round(float(q), 3) for q in np.quantile(values or [float("nan")], [0.5, 0.95, 0.99])
        ]

    return {
        "participants": n,
        "first token s, p50 p95 p99": quantiles(times.first_token),
        "answered s, p50 p95 p99": quantiles(times.done),
        "last answered s": round(max(times.done, default=float("nan")), 2),
        "votes": len(times.votes),
        "vote s, p50 p95 p99": quantiles(times.votes),
        "errors": len(times.errors),
        "first error": next(iter(times.errors), ""),
        "generations in the database": n_generations,
        "burst s": round(seconds, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--participants", type=int, nargs="+", default=[60, 120, 300])
    args = parser.parse_args()
    for n in args.participants:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with server(folder, max_exchanges=2 * n) as address:
                started = time.perf_counter()
                times = asyncio.run(burst(address, n))
                seconds = time.perf_counter() - started
            engine = create_engine(f"sqlite:///{folder / 'burst.db'}")
            with engine.connect() as connection:
                query = "SELECT count(*) FROM generation WHERE finish_reason IN ('stop', 'length')"
                n_generations = connection.execute(text(query)).scalar_one()
            engine.dispose()
        print(json.dumps(row(n, times, n_generations, seconds)), flush=True)


if __name__ == "__main__":
    main()
