"""A student's own prompts on the phone, where the host allows them, and offering one to the class."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.deps import IsHtmxDep, ServicesDep, TokenDep
from app.errors import AppError
from app.render import render
from app.routes import exchanges as exchange_routes
from app.routes.rooms import check_rate, enter, refuse
from app.services import exchanges, offers, rooms
from app.student_views import Own, own_view
from app.views import Works

router = APIRouter(prefix="/s/{code}")


@router.post("/exchanges")
async def ask(
    request: Request,
    services: ServicesDep,
    token: TokenDep,
    is_htmx: IsHtmxDep,
    code: str,
    text: Annotated[str, Form()] = "",
) -> Response:
    """Put an own prompt to both; the panes then fill as on the open page."""
    check_rate(services, "prompt", token, code)
    try:
        public_id, job = await exchange_routes.start(services, token or "", text, code)
    except AppError as error:
        return await refuse(request, services, error, token, code, is_htmx=is_htmx, beside="free")
    if not is_htmx:
        with services.generation.watching(job):
            await job.done()
        return RedirectResponse(f"/s/{rooms.tidy_code(code)}#free-play", status_code=303)
    works = Works.now(services.generation)

    def load(session: Session) -> tuple[str, Own]:
        room, member = enter(session, code, token)
        return room.code, own_view(session, exchanges.get(session, member, public_id), works)

    room_code, own = await services.db.read(load)
    return render(request, "room/_own.html", code=room_code, own=own)


@router.post("/offers/{public_id}")
async def offer(
    request: Request,
    services: ServicesDep,
    token: TokenDep,
    is_htmx: IsHtmxDep,
    code: str,
    public_id: str,
) -> Response:
    """Ask the host to show an own exchange to the class."""
    check_rate(services, "tap", token, code)
    works = Works.now(services.generation)

    def work(session: Session) -> tuple[str, Own]:
        room, member = enter(session, code, token)
        return room.code, own_view(session, offers.offer(session, room, member, public_id), works)

    try:
        room_code, own = await services.db.write(work)
    except AppError as error:
        return await refuse(request, services, error, token, code, is_htmx=is_htmx)
    if not is_htmx:
        return RedirectResponse(f"/s/{room_code}#free-play", status_code=303)
    return render(request, "room/_offer.html", code=room_code, own=own)
