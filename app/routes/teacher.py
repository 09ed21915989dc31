"""Who gives the lesson: the printed link, the password, rooms to open."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.deps import Services, ServicesDep, TeacherTokenDep
from app.errors import N_, AppError, Forbidden, NotFound
from app.render import render, translate
from app.security import TEACHER_COOKIE, keep_token
from app.services import rooms, teachers
from app.services.rooms import RoomTokens

router = APIRouter(prefix="/teacher")

PRIVATE = {"Cache-Control": "no-store"}


@router.get("")
async def home(request: Request, services: ServicesDep, token: TeacherTokenDep) -> Response:
    """The rooms, for whoever is signed in; for others the way in."""
    return await show(request, services, token)


async def show(
    request: Request, services: Services, token: str | None, error: AppError | None = None
) -> Response:
    def load(session: Session) -> dict[str, object]:
        is_in = teachers.is_signed_in(session, token)
        return {
            "is_signed_in": is_in,
            "has_password": teachers.has_password(session),
            "rooms": rooms.all_rooms(session) if is_in else [],
        }

    view = await services.db.read(load)
    return render(
        request,
        "teacher/rooms.html" if view["is_signed_in"] else "teacher/enter.html",
        status=error.status if error else 200,
        headers=PRIVATE,
        error=translate(request, error.message, **error.values) if error else "",
        is_password_wrong=isinstance(error, Forbidden),
        min_password=teachers.MIN_PASSWORD,
        **view,
    )


@router.get("/enter/{link}")
async def enter(request: Request, services: ServicesDep, link: str) -> Response:
    """The link that is printed at a start signs this browser in."""

    def open_session(session: Session) -> str:
        if not teachers.is_signed_in(session, link):
            raise NotFound(
                N_("Este link não vale mais. O novo está no terminal em que o servidor roda.")
            )
        return teachers.open_session(session)

    try:
        token = await services.db.write(open_session)
    except NotFound as error:
        return await show(request, services, None, error)
    return signed_in(services, token)


@router.post("/password")
async def set_password(
    request: Request,
    services: ServicesDep,
    token: TeacherTokenDep,
    password: Annotated[str, Form()] = "",
) -> Response:
    """On first use, for whoever came by the printed link. Behind a proxy every visitor would seem to sit at the server."""

    def define(session: Session) -> str:
        if not teachers.is_signed_in(session, token):
            raise Forbidden(N_("A primeira senha é definida com o link impresso no terminal."))
        teachers.set_password(session, password)
        return teachers.open_session(session)

    try:
        new = await services.db.write(define)
    except AppError as error:
        return await show(request, services, token, error)
    return signed_in(services, new)


@router.post("/session")
async def sign_in(
    request: Request, services: ServicesDep, password: Annotated[str, Form()] = ""
) -> Response:
    try:
        services.limits.check_password()
        await services.db.read(lambda session: teachers.check_password(session, password))
    except AppError as error:
        return await show(request, services, None, error)
    return signed_in(services, await services.db.write(teachers.open_session))


@router.post("/sign-out")
async def sign_out(services: ServicesDep, token: TeacherTokenDep) -> Response:
    await services.db.write(lambda session: teachers.sign_out(session, token))
    response = RedirectResponse("/teacher", status_code=303)
    response.delete_cookie(TEACHER_COOKIE)
    return response


@router.post("/rooms")
async def create_room(services: ServicesDep, token: TeacherTokenDep) -> Response:
    def create(session: Session) -> RoomTokens:
        check_signed_in(session, token)
        return rooms.create(session)[1]

    tokens = await services.db.write(create)
    return RedirectResponse(f"/host/{tokens.host}", status_code=303)


@router.post("/rooms/{code}/keys")
async def open_room(services: ServicesDep, token: TeacherTokenDep, code: str) -> Response:
    """New keys for a room of before: only hashes of the old ones are kept."""

    def open_(session: Session) -> RoomTokens:
        check_signed_in(session, token)
        return rooms.mint_keys(session, rooms.by_code(session, code))

    tokens = await services.db.write(open_)
    return RedirectResponse(f"/host/{tokens.host}", status_code=303)


def check_signed_in(session: Session, token: str | None) -> None:
    if not teachers.is_signed_in(session, token):
        raise Forbidden(N_("Entre primeiro como professora ou professor."))


def signed_in(services: Services, token: str) -> Response:
    """To the rooms, with the cookie that opens them."""
    response = RedirectResponse("/teacher", status_code=303)
    lasts_s, is_secure = (
        int(teachers.SESSION_LASTS.total_seconds()),
        services.settings.secure_cookies,
    )
    keep_token(response, TEACHER_COOKIE, token, max_age_s=lasts_s, is_secure=is_secure)
    return response
