"""Other servers, played by a real one on a real socket that answers as badly as it is told to."""

import asyncio
import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx2
import pytest

from model.chat import Envelope
from model.config import SamplingParams
from model.engine import Event
from model.remote import RemoteCalls, RemoteFault, RemoteModel, stream
from model.worker import Ending

PARAMS = SamplingParams(max_tokens=8, seed=3)


class Server(BaseHTTPRequestHandler):
    """The first part of the path says how it behaves."""

    asked: list[dict[str, object]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append({**body, "path": self.path, "key": self.headers.get("authorization")})
        way = self.path.split("/")[1]
        if way == "full":
            return self.say(503, "text/plain", b"no room")
        if way == "whole":
            answer = {"choices": [{"message": {"content": "Paris."}, "finish_reason": "stop"}]}
            return self.say(200, "application/json", json.dumps(answer).encode())
        if way == "page":
            return self.say(200, "text/html", b"<h1>router login</h1>")
        self.say(200, "text/event-stream", b"")
        for data in PIECES[way]:
            if data == "wait":
                time.sleep(1.0)
            else:
                self.wfile.write(f"data: {data}\n\n".encode())
                self.wfile.flush()

    def say(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None: ...


def chunk(text: str, finish: str | None = None) -> str:
    return json.dumps({"choices": [{"text": text, "finish_reason": finish}]})


def delta(text: str | None, finish: str | None = None) -> str:
    said = {} if text is None else {"content": text}
    return json.dumps({"choices": [{"delta": said, "finish_reason": finish}]})


PIECES = {
    "good": [chunk("É "), chunk("Paris"), chunk("", "length"), "[DONE]"],
    "chat": [
        delta(""),
        delta("Paris"),
        delta("."),
        delta(None, "stop"),
        '{"choices": []}',
        "[DONE]",
    ],
    "silent": [chunk("Paris"), "[DONE]"],
    "strange": [chunk("Paris", "content_filter"), "[DONE]"],
    "half": [chunk("Par")],
    "slow": [chunk("Par"), "wait", chunk("is")],
    "rubbish": [chunk("Par"), "{not json", "[DONE]"],
    "list": ["[1, 2]"],
    "refusal": ['{"error": {"message": "out of memory"}}'],
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_address[1]}"
    httpd.shutdown()
    httpd.server_close()


def ask(url: str, envelope: Envelope = "raw", timeout_s: float = 5.0) -> list[Event]:
    async def collect() -> list[Event]:
        model = RemoteModel(url=url, name="m", envelope=envelope, api_key="secret")
        async with httpx2.AsyncClient(timeout=timeout_s) as client:
            return [event async for event in stream(client, model, "Oi", PARAMS)]

    return asyncio.run(collect())


@pytest.mark.parametrize(
    ("way", "envelope", "text", "finish"),
    [
        ("good", "raw", "É Paris", "length"),
        ("chat", "chat", "Paris.", "stop"),
        ("whole", "chat", "Paris.", "stop"),
        ("silent", "raw", "Paris", "stop"),
        ("strange", "raw", "Paris", "stop"),
    ],
)
def test_texts_come_as_other_servers_write_them(
    server: str, way: str, envelope: Envelope, text: str, finish: str
) -> None:
    events = ask(f"{server}/{way}/v1", envelope)
    assert "".join(e.text for e in events) == text
    assert [e.finish for e in events if e.finish] == [finish]


def test_each_envelope_has_its_own_path_and_only_standard_fields_are_sent(server: str) -> None:
    Server.asked.clear()
    ask(f"{server}/good/v1/")
    ask(f"{server}/chat/v1", "chat")
    raw, chat = Server.asked
    assert raw["path"] == "/good/v1/completions"
    assert raw["prompt"] == "Oi"
    assert chat["path"] == "/chat/v1/chat/completions"
    assert chat["messages"] == [{"role": "user", "content": "Oi"}]
    for body in (raw, chat):
        assert body["key"] == "Bearer secret"
        assert (body["seed"], body["max_tokens"], body["stream"]) == (3, 8, True)


@pytest.mark.parametrize(
    ("way", "ending"),
    [
        ("full", "rubbish"),
        ("page", "rubbish"),
        ("rubbish", "rubbish"),
        ("list", "rubbish"),
        ("refusal", "rubbish"),
        ("half", "unreachable"),
        ("slow", "timeout"),
    ],
)
def test_what_goes_wrong_has_a_name(server: str, way: str, ending: Ending) -> None:
    with pytest.raises(RemoteFault) as fault:
        ask(f"{server}/{way}/v1", timeout_s=0.4)
    assert fault.value.ending == ending


def test_nobody_listens() -> None:
    with pytest.raises(RemoteFault) as fault:
        ask("http://127.0.0.1:9/v1")
    assert fault.value.ending == "unreachable"


def test_keys_get_their_events_and_who_leaves_no_more(server: str) -> None:
    got: dict[str, list[Event | Ending]] = {"a": [], "b": [], "c": []}

    def deliver(pairs: list[tuple[str, Event | Ending]]) -> None:
        for key, event in pairs:
            got[key].append(event)

    async def run() -> None:
        calls = RemoteCalls(deliver)
        for key, way in (("a", "good"), ("b", "slow"), ("c", "slow")):
            model = RemoteModel(url=f"{server}/{way}/v1", name="m", envelope="raw")
            calls.submit(key, model, "Oi", PARAMS)
        await asyncio.sleep(0.3)
        calls.cancel("b")
        calls.cancel("a")  # ended already
        await calls.stop()

    asyncio.run(run())
    assert isinstance(got["a"][-1], Event)
    assert got["b"][-1] == got["c"][-1] == "cancelled"
