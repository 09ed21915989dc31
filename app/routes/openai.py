"""An OpenAI-compatible API at /v1: other programs talk to the hosted checkpoints.

`base` continues texts (/v1/completions); `tuned` also holds conversations (/v1/chat/completions). Others that the server
was told of (DOIS_TREINOS_MORE) are read when they are first asked for.
"""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sse_starlette import EventSourceResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.deps import Services, ServicesDep
from app.errors import N_, AppError, Invalid, retry_after
from app.render import translate
from app.routes.openai_bodies import ChatBody, CompletionBody
from app.services import completions
from app.services.completions import Ask, Completion, Piece, ScoredToken

NOT_STREAMED = N_("echo e logprobs não vêm aos poucos: peça sem stream.")
LEFT_POLL_S = 0.5  # how often is looked whether the client is still there


@dataclass(frozen=True, slots=True)
class _Form:
    """The envelope that all parts of one answer share."""

    prefix: str
    object: str
    model: str
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, choices: list[dict[str, Any]], usage: dict[str, int]) -> dict[str, Any]:
        return {**self.part(choices, is_chunk=False), "usage": usage}

    def part(self, choices: list[dict[str, Any]], *, is_chunk: bool = True) -> dict[str, Any]:
        chunk = ".chunk" if is_chunk and self.prefix == "chatcmpl" else ""
        return {
            "id": f"{self.prefix}-{self.id}",
            "object": self.object + chunk,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }


def create_api() -> FastAPI:
    """The API as an app of its own, with errors in OpenAI's form; mounted at /v1."""
    api = FastAPI(title="Dois Treinos, OpenAI-compatible", docs_url=None, redoc_url=None)
    api.add_api_route("/models", list_models)
    api.add_api_route("/models/{model:path}", show_model)
    api.add_api_route("/completions", complete_text, methods=["POST"])
    api.add_api_route("/chat/completions", complete_chat, methods=["POST"])
    api.add_exception_handler(AppError, show_error)
    api.add_exception_handler(RequestValidationError, show_invalid)
    api.add_exception_handler(HTTPException, show_http_error)
    return api


async def list_models(services: ServicesDep) -> dict[str, Any]:
    return {"object": "list", "data": [_model(name) for name in services.generation.names]}


async def show_model(services: ServicesDep, model: str) -> dict[str, Any]:
    if model not in services.generation.names:
        raise completions.missing(model)
    return _model(model)


async def complete_text(request: Request, services: ServicesDep, body: CompletionBody) -> Response:
    """Continue one text or several."""
    ask = await completions.ask_texts(
        services.generation,
        body.model,
        body.prompts,
        body.how(body.max_tokens),
        body.n,
        is_written=body.max_tokens > 0,
    )
    form = _Form("cmpl", "text_completion", body.model)
    if body.stream:
        if body.echo or body.logprobs is not None or body.max_tokens == 0:
            raise Invalid(NOT_STREAMED)
        return _event_stream(request, services, ask, form, _text_delta, body.wants_usage)

    async def work() -> Response:
        answers = [Completion() for _ in ask.prompts]
        if body.max_tokens:
            answers = await completions.complete(services.generation, ask)
        choices = [
            await _text_choice(services, ask, i, answer, body) for i, answer in enumerate(answers)
        ]
        return JSONResponse(form.whole(choices, _usage(ask, _n_written(answers))))

    return await _unless_left(request, work())


async def complete_chat(request: Request, services: ServicesDep, body: ChatBody) -> Response:
    """Answer the last message."""
    messages = [
        completions.message(is_answer=m.role == "assistant", text=m.text) for m in body.messages
    ]
    max_tokens = body.max_completion_tokens or body.max_tokens or completions.TO_THE_END
    ask = await completions.ask_chat(
        services.generation, body.model, messages, body.how(max_tokens), body.n
    )
    form = _Form("chatcmpl", "chat.completion", body.model)
    if body.stream:
        if body.logprobs:
            raise Invalid(NOT_STREAMED)
        return _event_stream(request, services, ask, form, _chat_delta, body.wants_usage)

    async def work() -> Response:
        answers = await completions.complete(services.generation, ask)
        choices = [
            await _chat_choice(services, ask, i, answer, body) for i, answer in enumerate(answers)
        ]
        return JSONResponse(form.whole(choices, _usage(ask, _n_written(answers))))

    return await _unless_left(request, work())


async def show_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AppError)
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    code = "model_not_found" if error.status == 404 else None
    status = 400 if isinstance(error, Invalid) else error.status
    sentence = translate(request, error.message, **error.values)
    return _error(status, sentence, kind, code, retry_after(error))


async def show_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"] if part != "body")
    return _error(400, f"{where}: {fault['msg']}", "invalid_request_error", None, {})


async def show_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, str(error.detail), "invalid_request_error", None, {})


def _error(
    status: int, message: str, kind: str, code: str | None, headers: dict[str, str]
) -> JSONResponse:
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return JSONResponse(body, status, headers=headers)


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "dois-treinos"}


def _usage(ask: Ask, n_written: int) -> dict[str, int]:
    return {
        "prompt_tokens": ask.n_prompt_tokens,
        "completion_tokens": n_written,
        "total_tokens": ask.n_prompt_tokens + n_written,
    }


def _n_written(answers: Sequence[Completion]) -> int:
    return sum(len(answer.token_ids) for answer in answers)


async def _text_choice(
    services: Services, ask: Ask, index: int, answer: Completion, body: CompletionBody
) -> dict[str, Any]:
    scored, prompt = None, ""
    if body.logprobs is not None:
        before, after = await completions.score(
            services.generation, ask, index, answer, body.logprobs
        )
        scored = _old_logprobs([*(before if body.echo else []), *after])
    if body.echo:
        prompt = completions.prompt_text(ask, index)
    return {
        "index": index,
        "text": prompt + answer.text,
        "logprobs": scored,
        "finish_reason": answer.finish,
    }


def _old_logprobs(tokens: Sequence[ScoredToken]) -> dict[str, Any]:
    """Scores in the form of /v1/completions: parallel lists."""
    offsets, at = [], 0
    for token in tokens:
        offsets.append(at)
        at += len(token.text)
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [token.logp for token in tokens],
        "top_logprobs": [
            None if token.logp is None else {text: logp for text, _, logp in reversed(token.top)}
            for token in tokens
        ],
        "text_offset": offsets,
    }


async def _chat_choice(
    services: Services, ask: Ask, index: int, answer: Completion, body: ChatBody
) -> dict[str, Any]:
    scored = None
    if body.logprobs:
        _, after = await completions.score(
            services.generation, ask, index, answer, body.top_logprobs
        )
        scored = {"content": [_new_logprob(token) for token in after]}
    return {
        "index": index,
        "message": {"role": "assistant", "content": answer.text},
        "logprobs": scored,
        "finish_reason": answer.finish,
    }


def _new_logprob(token: ScoredToken) -> dict[str, Any]:
    """A score in the form of /v1/chat/completions."""

    def one(text: str, data: bytes, logp: float | None) -> dict[str, Any]:
        return {"token": text, "logprob": logp, "bytes": list(data)}

    return {
        **one(token.text, token.data, token.logp),
        "top_logprobs": [one(*other) for other in token.top],
    }


Delta = Callable[[Piece], dict[str, Any]]


def _text_delta(piece: Piece) -> dict[str, Any]:
    return {
        "index": piece.index,
        "text": piece.text,
        "logprobs": None,
        "finish_reason": piece.finish,
    }


def _chat_delta(piece: Piece) -> dict[str, Any]:
    delta = (
        {"role": "assistant", "content": piece.text} if piece.is_first else {"content": piece.text}
    )
    return {"index": piece.index, "delta": delta, "logprobs": None, "finish_reason": piece.finish}


def _event_stream(
    request: Request,
    services: Services,
    ask: Ask,
    form: _Form,
    delta: Delta,
    wants_usage: bool,
) -> Response:
    async def events() -> AsyncIterator[dict[str, str]]:
        n_written = 0
        try:
            async for piece in completions.stream(services.generation, ask):
                n_written += 1
                yield {"data": json.dumps(form.part([delta(piece)]))}
        except AppError as error:
            response = await show_error(request, error)
            yield {"data": bytes(response.body).decode()}
            return
        if wants_usage:
            yield {"data": json.dumps({**form.part([]), "usage": _usage(ask, n_written)})}
        yield {"data": "[DONE]"}

    return EventSourceResponse(events(), sep="\n", headers={"X-Accel-Buffering": "no"})


async def _unless_left(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """The work's answer; where the client leaves before it is there, the work is cancelled."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=LEFT_POLL_S)
            if not task.done() and await request.is_disconnected():
                return Response(status_code=499)
        return task.result()
    finally:
        task.cancel()
