"""A model on somebody else's OpenAI-compatible server (llama.cpp, vLLM, our own) in place of one in our engine.

`RemoteCalls` is to an event loop what `EngineThread` is to a thread: requests go in under a key, events come out.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import httpx2

from model.chat import Envelope
from model.config import SamplingParams
from model.engine import Event, FinishReason
from model.worker import Ending

log = logging.getLogger(__name__)

K = TypeVar("K")
CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0  # between two pieces of a text
FINISHES: dict[str, FinishReason] = {"stop": "stop", "eos": "stop", "length": "length"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteModel:
    """A model by its server's address, up to and with /v1, and its name there."""

    url: str
    name: str
    envelope: (
        Envelope  # raw: /completions; chat: /chat/completions, where the server makes the envelope
    )
    api_key: str = ""


class RemoteFault(Exception):
    """The server did not answer as it should; `ending` says in what way."""

    def __init__(self, ending: Ending, message: str) -> None:
        super().__init__(message)
        self.ending: Ending = ending


class RemoteCalls(Generic[K]):
    """Texts being written elsewhere. Every key gets events up to one with a finish, or an `Ending`."""

    def __init__(
        self,
        deliver: Callable[[list[tuple[K, Event | Ending]]], None],
        *,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        timeout = httpx2.Timeout(read_timeout_s, connect=CONNECT_TIMEOUT_S)
        self._client = httpx2.AsyncClient(timeout=timeout)
        self._deliver = deliver
        self._tasks: dict[asyncio.Task[None], K] = {}

    def submit(self, key: K, model: RemoteModel, text: str, params: SamplingParams) -> None:
        task = asyncio.ensure_future(self._follow(key, model, text, params))
        self._tasks[task] = key
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    def cancel(self, key: K) -> None:
        """Stop listening; a key that has ended already is left alone."""
        for task, running in list(self._tasks.items()):
            if running is key and not task.done():
                task.cancel()
                self._tasks.pop(task)
                self._deliver([(key, "cancelled")])

    async def stop(self) -> None:
        for key in list(self._tasks.values()):
            self.cancel(key)
        await self._client.aclose()

    async def _follow(self, key: K, model: RemoteModel, text: str, params: SamplingParams) -> None:
        try:
            async with aclosing(stream(self._client, model, text, params)) as events:
                async for event in events:
                    self._deliver([(key, event)])
        except RemoteFault as fault:
            log.warning("%s on %s: %s", model.name, model.url, fault)
            self._deliver([(key, fault.ending)])
        except Exception:
            log.exception("reading from %s failed", model.url)
            self._deliver([(key, "rubbish")])


async def stream(
    client: httpx2.AsyncClient, model: RemoteModel, text: str, params: SamplingParams
) -> AsyncGenerator[Event]:
    """Pieces of one text as the server sends them; the last has a finish. RemoteFault says what went wrong."""
    path, body = _request(model, text, params)
    headers = {"authorization": f"Bearer {model.api_key}"} if model.api_key else {}
    url = model.url.rstrip("/") + path
    try:
        async with (
            client.stream("POST", url, json=body, headers=headers) as response,
            aclosing(_pieces(response)) as pieces,
        ):
            async for piece, finish in pieces:
                yield Event(0, piece, finish=finish)
    except httpx2.TimeoutException as error:
        raise RemoteFault("timeout", f"no answer in time ({type(error).__name__})") from error
    except httpx2.SSEError as error:
        raise RemoteFault("rubbish", str(error)) from error
    except httpx2.HTTPError as error:
        raise RemoteFault("unreachable", f"{type(error).__name__} {error}") from error


def _request(model: RemoteModel, text: str, params: SamplingParams) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = {
        "model": model.name,
        "max_tokens": params.max_tokens,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "seed": params.seed,
        "stream": True,
    }
    if params.stop:
        body["stop"] = list(params.stop)
    if model.envelope == "raw":
        return "/completions", {**body, "prompt": text}
    return "/chat/completions", {**body, "messages": [{"role": "user", "content": text}]}


async def _pieces(
    response: httpx2.Response,
) -> AsyncGenerator[tuple[str, FinishReason | None]]:
    """What the server says, whatever fields it leaves out or adds; the last piece has a finish."""
    if response.status_code != 200:
        await response.aread()
        raise RemoteFault("rubbish", f"status {response.status_code}: {response.text[:200]}")
    if response.headers.get("content-type", "").startswith("application/json"):  # it cannot stream
        await response.aread()
        yield _piece(response.text)[0], "stop"
        return
    async for event in httpx2.EventSource(response):
        if event.data.strip() == "[DONE]":
            break
        text, finish = _piece(event.data)
        yield text, finish
        if finish:
            return
    else:
        raise RemoteFault("unreachable", "the connection ended before the text did")
    yield "", "stop"  # some servers end without saying why


def _piece(data: str) -> tuple[str, FinishReason | None]:
    try:
        message = json.loads(data)
        if "error" in message:
            raise RemoteFault("rubbish", str(message["error"])[:200])
        if not message["choices"]:  # a last message that only counts tokens
            return "", None
        choice = message["choices"][0]
        said = choice.get("delta") or choice.get("message") or choice
        text = said.get("text", said.get("content")) or ""
        finish = choice.get("finish_reason")
        return str(text), FINISHES.get(finish, "stop") if finish else None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise RemoteFault("rubbish", f"not a piece of a text: {data[:200]}") from error
