"""Whole pages: the front page, one exchange, the language."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.deps import ServicesDep, TokenDep
from app.i18n import COOKIE, LOCALES
from app.render import render
from app.services import exchanges, participants
from app.services.exchanges import DECK, MAX_PROMPT_CHARACTERS
from app.views import ExchangeView, Works, empty_exchange, exchange_view

router = APIRouter()


@router.get("/")
async def front_page(
    request: Request, services: ServicesDep, token: TokenDep, new: bool = False
) -> Response:
    """The open page: alone, without any room. It goes on showing the visitor's last exchange."""
    works = Works.now(services.generation)

    def load(session: Session) -> ExchangeView | None:
        participant = participants.find(session, token)
        exposure = exchanges.latest(session, participant) if participant else None
        return exchange_view(session, exposure, works) if exposure else None

    view = None if new else await services.db.read(load)
    return render_page(request, services, view)


@router.get("/exchanges")
async def no_exchange() -> Response:
    """Where a browser without script stands after a refused prompt, if it reloads."""
    return RedirectResponse("/", status_code=303)


@router.get("/exchanges/{public_id}")
async def exchange_page(
    request: Request, services: ServicesDep, token: TokenDep, public_id: str
) -> Response:
    """One exchange at its own address; where a browser without script is sent."""
    works = Works.now(services.generation)

    def load(session: Session) -> ExchangeView:
        participant = participants.of_exchange(session, token, public_id)
        exposure = exchanges.get(session, participant, public_id)
        return exchange_view(session, exposure, works)

    return render_page(request, services, await services.db.read(load))


@router.post("/language")
async def choose_language(request: Request, language: Annotated[str, Form()]) -> Response:
    """Back on the page where it was chosen."""
    came_from = urlsplit(request.headers.get("referer", ""))
    is_ours = came_from.netloc == request.url.netloc and re.match(r"/(?![/\\])", came_from.path)
    response = RedirectResponse(came_from.path if is_ours else "/", status_code=303)
    if language in LOCALES:
        response.set_cookie(COOKIE, language, max_age=365 * 24 * 3600, samesite="lax")
    return response


def render_page(
    request: Request,
    services: ServicesDep,
    view: ExchangeView | None,
    *,
    status: int = 200,
    error: str = "",
    text: str = "",
) -> Response:
    """The front page around an exchange, or around none."""
    facts = services.generation.facts
    return render(
        request,
        "index.html",
        status=status,
        exchange=view or empty_exchange(facts),
        deck=DECK,
        facts=facts,
        error=error,
        text=text,
        max_characters=MAX_PROMPT_CHARACTERS,
    )
