"""The room on a student's phone: joining, the one page that follows the class, and every tap on it."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse
from sqlalchemy.orm import Session
from sse_starlette import EventSourceResponse
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import Response

from app.deps import IsHtmxDep, Services, ServicesDep, TokenDep, leave_token
from app.errors import N_, AppError, Conflict, Invalid, NotFound
from app.events import phase_topic
from app.render import render, to_html, translate
from app.routes.live import live
from app.security import hash_token, new_token
from app.services import erasure, room_votes, rooms
from app.services.room_votes import Ballot, MyVotes, Tap
from app.student_views import (
    CONSENT_VERSION,
    GONE,
    OUTSIDE,
    Browser,
    NotDrawn,
    Stage,
    Taps,
    answer_and_look,
    look_all,
    look_and_draw,
)
from app.tables import Choice, Participant, Room, Target, VoteKind, now
from app.views import Works

router = APIRouter()

GAP_S = 0.4  # between two events on a phone
KEY = r"^[\w-]+$"


class RoomCode(Convertor[str]):
    """Six characters that may be a room's code, so that the bare address `/ABC234` is no other page's."""

    regex = f"[{rooms.ALPHABET}{rooms.ALPHABET.lower()}]{{{rooms.CODE_LENGTH}}}"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("room_code", RoomCode())


async def load(services: Services, token: str | None, code: str) -> Stage:
    """What this browser is shown of a room; its sides are drawn when it first sees a pair."""
    code, browser = rooms.tidy_code(code), Browser(token, Works.now(services.generation))
    try:
        return await services.db.read_together(look_all, code, browser)
    except NotDrawn:
        return await services.db.write_together(look_and_draw, code, browser)


def enter(session: Session, code: str, token: str | None) -> tuple[Room, Participant]:
    room = rooms.by_code(session, code)
    return room, rooms.active_member(session, room, token)


def check_rate(services: Services, kind: str, token: str | None, code: str) -> None:
    """TooMany, before the database is asked. In a room a participant is a cookie and nothing else."""
    code = rooms.tidy_code(code)[: rooms.CODE_LENGTH]
    services.limits.check(kind, hash_token(f"{code} {token}"), code)


@router.get("/join")
async def join_by_code(request: Request, services: ServicesDep, code: str = "") -> Response:
    """Where the code box leads; with a wrong code, back to the box."""
    code = code.strip()[:100]
    if not code:
        return render(request, "room/enter.html", error="", typed="")
    try:
        room = await services.db.read(lambda s: rooms.by_code(s, code))
    except NotFound as error:
        return no_room(request, error, code)
    return RedirectResponse(f"/s/{room.code}", status_code=303)


def no_room(request: Request, error: AppError, typed: str) -> Response:
    sentence = translate(request, error.message, **error.values)
    return render(request, "room/enter.html", status=404, error=sentence, typed=typed)


@router.get("/{code:room_code}")
async def short_address(code: str) -> Response:
    return RedirectResponse(f"/s/{code.upper()}", status_code=303)


@router.get("/s/{code}")
async def room_page(
    request: Request, services: ServicesDep, token: TokenDep, code: str, erased: bool = False
) -> Response:
    """The one page that follows the class; before joining, the door."""
    try:
        stage = await load(services, token, code)
    except NotFound as error:
        return no_room(request, error, code[:100])
    response = show(request, stage, is_erased=erased)
    if token is None:  # already here: who taps twice on a slow line joins once
        leave_token(services, response, new_token())
    return response


def show(
    request: Request,
    stage: Stage,
    *,
    status: int = 200,
    error: str = "",
    is_erased: bool = False,
) -> Response:
    template = "room/join.html" if stage.phase == OUTSIDE else "room/page.html"
    headers = {"Cache-Control": "no-store"}
    return render(
        request,
        template,
        status=status,
        headers=headers,
        stage=stage,
        error=error,
        is_erased=is_erased,
    )


@router.post("/s/{code}/join")
async def join(services: ServicesDep, token: TokenDep, code: str) -> Response:
    token = token or new_token()
    check_rate(services, "join", token, code)

    def work(session: Session) -> str:
        room = rooms.by_code(session, code)
        rooms.join(session, room, token)
        return room.code

    response = RedirectResponse(f"/s/{await services.db.write(work)}", status_code=303)
    leave_token(services, response, token)
    return response


@router.get("/s/{code}/stream")
async def stream(request: Request, services: ServicesDep, token: TokenDep, code: str) -> Response:
    """The stage again whenever it has changed. While both answers grow, the database is not asked again."""
    try:
        stage = await load(services, token, code)
    except NotFound:
        return gone(request, code)
    hub, topic = services.db.hub, phase_topic(stage.room_id)
    seen = -1

    async def redraw() -> tuple[str, float | None]:
        nonlocal stage, seen
        version = hub.version(topic)
        if stage.is_growing and version == seen:
            stage = stage.grown(now())
        else:
            seen = version
            try:
                stage = await load(services, token, code)
            except NotFound:
                stage = Stage(code=stage.code, phase=GONE)
        return to_html(request, "room/_stage_part.html", stage=stage), stage.again_s

    around = services.presence.here(stage.room_id, stage.member_id) if stage.member_id else None
    return live(hub, topic, redraw, gap_s=GAP_S, around=around)


def gone(request: Request, code: str) -> Response:
    """For a phone that comes back to a room that was erased: say so, and do not come back again."""
    html = to_html(request, "room/_stage_part.html", stage=Stage(code=code[:100], phase=GONE))

    async def events() -> AsyncIterator[dict[str, str]]:
        yield {"data": html}
        yield {"event": "done", "data": "1"}

    return EventSourceResponse(events(), sep="\n")


@router.post("/s/{code}/answer")
async def answer(
    request: Request,
    services: ServicesDep,
    token: TokenDep,
    is_htmx: IsHtmxDep,
    code: str,
    text: Annotated[str, Form()] = "",
) -> Response:
    """What the student says before any model does."""
    check_rate(services, "tap", token, code)

    said = (Browser(token, Works.now(services.generation)), text)
    try:
        stage: Stage = await services.db.write_together(
            answer_and_look, rooms.tidy_code(code), said
        )
    except AppError as error:
        return await refuse(request, services, error, token, code, is_htmx=is_htmx, beside="answer")
    return done(request, stage, is_htmx=is_htmx)


@router.post("/s/{code}/votes")
async def vote(
    request: Request,
    services: ServicesDep,
    token: TokenDep,
    is_htmx: IsHtmxDep,
    code: str,
    kind: Annotated[VoteKind, Form()],
    target: Annotated[Target, Form()],
    key: Annotated[str, Form(max_length=64, pattern=KEY)],
    value: Annotated[int | None, Form(ge=-1, le=1)] = None,
    choice: Annotated[Choice | None, Form()] = None,
    reasons: Annotated[list[str], Form()] = [],  # noqa: B006 (FastAPI copies it)
) -> Response:
    """One tap. Only the tapped part is sent back: a whole room votes at once."""
    check_rate(services, "tap", token, code)
    ballot = Ballot(
        kind=kind,
        target=target,
        value=value or None,
        choice=choice,
        reasons=room_votes.kinds_of(reasons),
    )

    code, tap = rooms.tidy_code(code), Tap(cookie=token, ballot=ballot, key=key)
    try:
        votes: MyVotes = await services.db.write_together(room_votes.cast_all, code, tap)
    except Conflict as error:
        return await refuse(request, services, error, token, code, is_htmx=is_htmx)
    part = target if kind in (VoteKind.THUMB, VoteKind.REASONS) else kind
    if not is_htmx:
        return RedirectResponse(f"/s/{code}#{part}", status_code=303)
    taps = Taps(code=code, votes=votes)
    if kind in (VoteKind.THUMB, VoteKind.REASONS):
        return render(request, "room/_rate.html", taps=taps, side=target)
    return render(request, f"room/_{kind}.html", taps=taps)


@router.post("/s/{code}/consent")
async def consent(
    request: Request,
    services: ServicesDep,
    token: TokenDep,
    is_htmx: IsHtmxDep,
    code: str,
    given: Annotated[bool, Form()] = False,
) -> Response:
    check_rate(services, "tap", token, code)

    def work(session: Session) -> None:
        _, member = enter(session, code, token)
        rooms.set_consent(session, member, given, CONSENT_VERSION)

    try:
        await services.db.write(work)
    except Conflict as error:
        return await refuse(request, services, error, token, code, is_htmx=is_htmx)
    if not is_htmx:
        return RedirectResponse(f"/s/{code}#consent", status_code=303)
    stage_code = rooms.tidy_code(code)
    return render(request, "room/_consent.html", code=stage_code, consents=given, is_saved=True)


@router.post("/s/{code}/more-time")
async def more_time(
    request: Request, services: ServicesDep, token: TokenDep, is_htmx: IsHtmxDep, code: str
) -> Response:
    check_rate(services, "tap", token, code)

    def work(session: Session) -> None:
        _, member = enter(session, code, token)
        rooms.set_more_time(member, True)

    try:
        await services.db.write(work)
    except Conflict as error:
        return await refuse(request, services, error, token, code, is_htmx=is_htmx)
    return done(request, await load(services, token, code), is_htmx=is_htmx)


@router.post("/s/{code}/erase-me")
async def erase_me(
    services: ServicesDep, token: TokenDep, code: str, sure: Annotated[bool, Form()] = False
) -> Response:
    """All of one student's data in this room, if that was confirmed; also for those whom the host removed."""
    check_rate(services, "tap", token, code)
    if not sure:
        raise Invalid(N_("Marque a caixa para confirmar que é para apagar."))

    def work(session: Session) -> str:
        room = rooms.by_code(session, code)
        if member := rooms.member(session, room, token):
            erasure.erase_participant(session, member)
        return room.code

    return RedirectResponse(f"/s/{await services.db.erase(work)}?erased=1", status_code=303)


def done(request: Request, stage: Stage, *, is_htmx: bool) -> Response:
    """The stage as it is after a tap; a browser without script goes back to the page."""
    if not is_htmx:
        return RedirectResponse(f"/s/{stage.code}", status_code=303)
    return render(request, "room/_stage.html", stage=stage)


async def refuse(
    request: Request,
    services: Services,
    error: AppError,
    token: str | None,
    code: str,
    *,
    is_htmx: bool,
    beside: str | None = None,
) -> Response:
    """Say what did not count. Where the room has moved on, show the stage as it is now; else leave it alone.

    beside  the field whose fault it may be: `#…-error` stands below it
    """
    if isinstance(error, NotFound):
        raise error
    sentence = translate(request, error.message, **error.values)
    if is_htmx and beside and not isinstance(error, Conflict):
        headers = {"HX-Retarget": f"#{beside}-error", "HX-Reswap": "innerHTML"}
        return render(
            request, "_sentence.html", status=error.status, headers=headers, sentence=sentence
        )
    stage = await load(services, token, code)
    if not is_htmx:
        return show(request, stage, status=error.status, error=sentence)
    headers = {"HX-Retarget": "#stage", "HX-Reswap": "outerMorph"}
    return render(
        request,
        "room/_refused.html",
        status=error.status,
        headers=headers,
        stage=stage,
        sentence=sentence,
    )
