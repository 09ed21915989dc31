"""The host's page: everything that moves a room. Whoever has its secret address is the host."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Path, Request
from fastapi.responses import RedirectResponse
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.addresses import for_phones, is_for_this_machine, qr_svg
from app.deps import IsHtmxDep, Services, ServicesDep
from app.errors import AppError, NotFound
from app.events import room_topic
from app.host_views import HostView, host_view, view_of
from app.render import render, to_html, translate
from app.routes.live import live
from app.services import erasure, offers, rooms, rounds
from app.services.rounds import RoundOptions
from app.tables import AnswerKind, KeyKind, Phase, Room

router = APIRouter(prefix="/host/{token}")

PRIVATE = {"Cache-Control": "no-store"}
PARTS = ("round", "results", "join", "people", "prompts", "offers", "keep")  # templates and ids
GAP_S = 1.0  # at most one snapshot a second
AGAIN_S = 5.0  # people leave without a word
COUNTDOWNS_S = (15, 30, 45, 60, 90, 120, 180, 300)
MAX_NUMBER = 2**31 - 1  # what a column holds

Number = Annotated[int, Form(ge=0, le=MAX_NUMBER)]
Id = Annotated[int, Path(ge=0, le=MAX_NUMBER)]
Work = Callable[[Session, Room], object]


@dataclass(frozen=True, slots=True)
class Desk:
    """One request of a host, and how it is answered."""

    request: Request
    services: Services
    is_htmx: bool
    token: str

    async def view(self) -> HostView:
        return await self.services.db.read(lambda session: host_view(session, self.token))

    async def act(self, work: Work) -> Response:
        """Do something with the room, and show how it stands then."""
        return (await self._act(work))[0]

    async def move(self, work: Work) -> Response:
        """The same for a step, at which it may be the models' turn."""
        response, view = await self._act(work)
        if view is not None and view.phase == Phase.ANSWERS and view.round_ is not None:
            self.services.room_writer.start(view.round_.id)
        return response

    async def _act(self, work: Work) -> tuple[Response, HostView | None]:
        """The answer, and the state that was reached; none where it was refused.

        A refusal, such as another window having been faster, shows the present state and a sentence.
        """

        def write(session: Session) -> HostView:
            room = rooms.by_key(session, KeyKind.HOST, self.token)
            work(session, room)
            session.flush()
            return view_of(session, room, self.token)

        try:
            view = await self.services.db.write(write)
        except AppError as error:
            return self.show(await self.view(), error), None
        if self.is_htmx:
            return self.show(view), view
        return RedirectResponse(f"/host/{self.token}", status_code=303), view

    def show(self, view: HostView, error: AppError | None = None) -> Response:
        """The page; for a script, all of its parts."""
        sentence = translate(self.request, error.message, **error.values) if error else ""
        return render(
            self.request,
            "host/_parts.html" if self.is_htmx else "host/host.html",
            status=error.status if error else 200,
            headers=PRIVATE,
            error=sentence,
            **self.context(view),
        )

    def drawn(self, view: HostView) -> Iterable[tuple[str, str]]:
        """Every part by its name, as a script puts it into the page."""
        context = self.context(view)
        for name in PARTS:
            yield name, to_html(self.request, "host/_part.html", name=name, **context)

    def context(self, view: HostView) -> dict[str, Any]:
        """What every part may use."""
        settings, room = self.services.settings, view.room
        phones = for_phones(str(self.request.url), settings.host, settings.public_url)
        join_url = f"{phones}/s/{room.code}"
        return {
            "view": view,
            "parts": PARTS,
            "action": f"/host/{view.token}",
            "join_url": join_url,
            "qr": qr_svg(join_url),
            "is_for_this_machine": is_for_this_machine(phones),
            "countdowns": COUNTDOWNS_S,
            "kept_days": round((room.erase_at - room.created_at) / timedelta(days=1)),
        }


async def desk(request: Request, services: ServicesDep, is_htmx: IsHtmxDep, token: str) -> Desk:
    return Desk(request, services, is_htmx, token)


DeskDep = Annotated[Desk, Depends(desk)]


@router.get("")
async def page(desk: DeskDep) -> Response:
    return desk.show(await desk.view())


@router.get("/stream")
async def stream(desk: DeskDep) -> Response:
    """The parts of the page that have changed."""
    view = await desk.view()  # NotFound before the first byte is sent
    sent: dict[str, str] = {}
    latest = ""

    async def redraw() -> tuple[str, float | None]:
        nonlocal latest
        try:
            now = await desk.view()
        except NotFound:
            return to_html(desk.request, "host/_erased.html"), None
        changed = {name: html for name, html in desk.drawn(now) if sent.get(name) != html}
        sent.update(changed)
        latest = "".join(changed.values()) or latest
        is_coming = now.phase == Phase.ANSWERS and now.share < 1
        return latest, GAP_S if is_coming or now.seconds_left else AGAIN_S

    return live(desk.services.db.hub, room_topic(view.room.id), redraw, gap_s=GAP_S)


@router.post("/rounds")
async def start(
    desk: DeskDep,
    version: Number,
    prompt_id: Number,
    n_samples: Number = 0,
    countdown_s: Number = 0,
    asks_people: Annotated[bool, Form()] = False,
    is_blind: Annotated[bool, Form()] = False,
    has_second_vote: Annotated[bool, Form()] = False,
) -> Response:
    """Put a prompt to the room."""

    def work(session: Session, room: Room) -> None:
        options = RoundOptions(
            asks_people=asks_people,
            is_blind=is_blind,
            has_second_vote=has_second_vote,
            n_samples=n_samples,
            countdown_s=countdown_s or None,
        )
        rounds.start(session, room, version, prompt_id, options)

    return await desk.move(work)


@router.post("/phase")
async def advance(desk: DeskDep, version: Number, to: Annotated[Phase, Form()]) -> Response:
    """The next step of the round, if this window knew the present one."""
    return await desk.move(lambda session, room: rounds.advance(session, room, version, to))


@router.post("/prompts")
async def add_prompt(
    desk: DeskDep,
    text: Annotated[str, Form()] = "",
    kind: Annotated[AnswerKind, Form()] = AnswerKind.TEXT,
) -> Response:
    """A question of the teacher's own; refused where it is too long for either model."""

    def work(session: Session, room: Room) -> None:
        desk.services.generation.plan(rooms.add_prompt(session, room, text, kind).text)

    return await desk.act(work)


@router.post("/people/{person}/name")
async def rename(desk: DeskDep, person: Id, pseudonym: Annotated[str, Form()] = "") -> Response:
    return await desk.act(lambda session, room: rooms.rename(session, room, person, pseudonym))


@router.post("/people/{person}/removed")
async def set_removed(desk: DeskDep, person: Id, is_removed: Annotated[bool, Form()]) -> Response:
    """Take somebody out of the room, or let them in again."""
    return await desk.act(
        lambda session, room: rooms.set_removed(session, room, person, is_removed)
    )


@router.post("/free-play")
async def set_free_play(desk: DeskDep, is_allowed: Annotated[bool, Form()]) -> Response:
    return await desk.act(lambda session, room: rooms.set_free_play(session, room, is_allowed))


@router.post("/offers/{prompt}/approved")
async def set_approved(desk: DeskDep, prompt: Id, is_approved: Annotated[bool, Form()]) -> Response:
    """Let the class see a student's question, or not any more."""
    return await desk.act(
        lambda session, room: offers.set_approved(session, room, prompt, is_approved)
    )


@router.post("/shown")
async def set_shown(desk: DeskDep, prompt_id: Number = 0) -> Response:
    """What the projector shows of the students' own; 0 takes it down."""
    return await desk.act(lambda session, room: offers.show(session, room, prompt_id or None))


@router.post("/kept")
async def set_kept(desk: DeskDep, days: Number) -> Response:
    """How many days the room is kept."""
    return await desk.act(lambda session, room: rooms.set_kept_days(session, room, days))


@router.get("/erase")
async def confirm_erasure(desk: DeskDep) -> Response:
    """What would be lost, before it is."""
    view = await desk.view()
    return render(desk.request, "host/erase.html", headers=PRIVATE, view=view)


@router.post("/erase")
async def erase(desk: DeskDep) -> Response:
    """The whole room, now and for good. Windows that show it say so."""

    def work(session: Session) -> None:
        erasure.erase_room(session, rooms.by_key(session, KeyKind.HOST, desk.token))

    await desk.services.db.erase(work)
    return RedirectResponse("/teacher", status_code=303)
