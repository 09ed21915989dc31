"""Joins the parts: `create_app` from parts that are there, `from_settings` from the world outside."""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app import resource
from app.config import Settings
from app.db import Database
from app.deps import Services, is_htmx
from app.errors import (
    N_,
    AppError,
    Invalid,
    NotFound,
    Unusable,
    database_busy,
    retry_after,
)
from app.limits import Limits
from app.render import render, translate
from app.routes import exchanges as exchange_routes
from app.routes import exports as export_routes
from app.routes import free_play, health, host, pages, projector, rooms, teacher
from app.routes import votes as vote_routes
from app.routes.openai import create_api
from app.security import HEADERS, SameOrigin, SecurityHeaders
from app.services import checkpoints, exchanges
from app.services.facts import Source
from app.services.forgetting import forget_daily
from app.services.generation import GenerationService
from app.services.presence import Presence
from app.services.room_generation import RoomWriter
from app.tables import Role
from model.checkpoint import load_checkpoint
from model.device import use_cores
from model.errors import BrokenCheckpoint
from model.pair import load_pair
from model.remote import RemoteModel
from model.shelf import find_checkpoints, memory_bytes

MAX_BODY_BYTES = 256 * 1024  # the box itself takes no more than 20,000 characters


def create_app(
    settings: Settings,
    db: Database,
    sources: Mapping[Role, Source],
    more: Mapping[str, Path] | None = None,
) -> FastAPI:
    """The web app around a database that is up to date and models that are loaded, or on other servers.

    `more`: checkpoint folders by name, read when another program asks for them.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        generation = GenerationService(
            sources,
            max_jobs=settings.max_exchanges,
            leave_grace_s=settings.leave_grace_s,
            is_exact=settings.dois_treinos_exact,
            n_cores=settings.engine_threads,
            more=more,
            max_more_bytes=settings.dois_treinos_more_mb * 2**20,
        )
        await db.write(exchanges.close_abandoned)
        ids = await db.write(lambda session: checkpoints.register(session, generation.facts))
        writer, presence = RoomWriter(db, generation, ids), Presence(db)
        services = Services(settings, db, generation, ids, writer, presence, Limits())
        app.state.services = api.state.services = services
        generation.start()
        works = (presence.run(), db.listen(), forget_daily(db), writer.keep_resuming())
        background = [asyncio.create_task(work) for work in works]
        try:
            yield
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await writer.stop()
            await generation.stop()
            db.close()

    app = FastAPI(
        title="Dois Treinos",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        max_body_size=MAX_BODY_BYTES,
    )
    api = create_api()
    app.mount("/v1", api)
    app.add_middleware(SameOrigin, trusted=frozenset(settings.trusted_origins))
    app.add_middleware(SecurityHeaders)  # around it, so that refusals have them too
    app.mount("/static", CachedFiles(directory=resource("static")), name="static")
    for routes in (
        pages,
        exchange_routes,
        vote_routes,
        teacher,
        host,
        projector,
        rooms,
        free_play,
        export_routes,
        health,
    ):
        app.include_router(routes.router)
    app.add_exception_handler(AppError, show_error)
    app.add_exception_handler(OperationalError, show_database_error)
    app.add_exception_handler(RequestValidationError, show_invalid)
    app.add_exception_handler(HTTPException, show_http_error)
    app.add_exception_handler(Exception, show_failure)
    return app


def from_settings(settings: Settings) -> FastAPI:
    """Load the models, bring the database up to date, make the app. Unusable says what is wrong."""
    use_cores(1)  # the engine's thread has the others
    try:
        more = find_more(settings)
        sources = load_sources(settings)
    except BrokenCheckpoint as error:
        raise Unusable(str(error)) from error
    db = Database(settings.database_url)
    db.upgrade()
    return create_app(settings, db, sources, more)


def load_sources(settings: Settings) -> dict[Role, Source]:
    """What answers as base and as tuned: a checkpoint, or a model on another server where its URL is set."""
    key = settings.dois_treinos_api_key.get_secret_value()
    found: dict[Role, Source] = {}
    if url := settings.dois_treinos_base_url:
        name = settings.dois_treinos_base_model
        found[Role.BASE] = RemoteModel(url=url, name=name, envelope="raw", api_key=key)
    if url := settings.dois_treinos_tuned_url:
        name = settings.dois_treinos_tuned_model
        found[Role.TUNED] = RemoteModel(url=url, name=name, envelope="chat", api_key=key)
    if not found:
        pair = load_pair(settings.dois_treinos_base, settings.dois_treinos_tuned)
        return {Role.BASE: pair.base, Role.TUNED: pair.tuned}
    if Role.BASE not in found:
        found[Role.BASE] = replace(load_checkpoint(settings.dois_treinos_base), envelope="raw")
    if Role.TUNED not in found:
        found[Role.TUNED] = load_checkpoint(settings.dois_treinos_tuned)
    return {role: found[role] for role in Role}


def find_more(settings: Settings) -> dict[str, Path]:
    """Folders of the checkpoints beside the pair, looked at but not read."""
    more = find_checkpoints(settings.dois_treinos_more, taken=list(Role))
    for name, folder in more.items():
        n_bytes = memory_bytes(folder, is_exact=settings.dois_treinos_exact)
        n_mb = math.ceil(n_bytes / 2**20)
        if n_mb > settings.dois_treinos_more_mb:
            raise BrokenCheckpoint(
                f"{name} ({folder}) takes about {n_mb:,} MB of memory; DOIS_TREINOS_MORE_MB allows "
                f"{settings.dois_treinos_more_mb:,}."
            )
    return more


class CachedFiles(StaticFiles):
    """Files whose address carries their hash may be kept for ever; all others are asked for anew."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        is_versioned = scope["query_string"].startswith(b"v=")
        response.headers["cache-control"] = (
            "public, max-age=31536000, immutable" if is_versioned else "no-cache"
        )
        return response


async def show_error(request: Request, error: Exception) -> Response:
    """A product's error as a sentence: a page, or for a script the notice at the bottom."""
    assert isinstance(error, AppError)
    sentence = translate(request, error.message, **error.values)
    headers = retry_after(error)
    if is_htmx(request):
        headers |= {"HX-Retarget": "#notice", "HX-Reswap": "innerHTML"}
        return render(
            request, "_sentence.html", status=error.status, headers=headers, sentence=sentence
        )
    return render(request, "error.html", status=error.status, headers=headers, sentence=sentence)


async def show_database_error(request: Request, error: Exception) -> Response:
    return await show_error(request, database_busy(error))


async def show_invalid(request: Request, error: Exception) -> Response:
    return await show_error(request, Invalid(N_("O pedido veio incompleto ou errado.")))


async def show_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return await show_error(request, NotFound(N_("Esta página não existe.")))
    sentence = AppError(
        N_("O pedido não pôde ser atendido (%(status)s)."), status=error.status_code
    )
    sentence.status = error.status_code
    return await show_error(request, sentence)


async def show_failure(request: Request, error: Exception) -> Response:
    """A fault of ours: the trace goes to the log, a sentence to the person."""
    sentence = AppError(N_("Algo deu errado aqui, não com você. Tente de novo."))
    response = await show_error(request, sentence)
    response.headers.update(HEADERS)  # this answer is made outside of all middleware
    return response
