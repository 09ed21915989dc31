"""Asking both checkpoints, and reading their answers as they are written."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from fastapi import APIRouter, Form, Header, Request
from fastapi.responses import RedirectResponse
from sqlalchemy.orm import Session
from sse_starlette import EventSourceResponse
from starlette.responses import Response

from app.deps import IsHtmxDep, Services, ServicesDep, TokenDep
from app.errors import AppError
from app.render import render, to_html, translate
from app.routes.pages import render_page
from app.security import COOKIE, COOKIE_MAX_AGE_S, new_token
from app.services import exchanges, participants
from app.services.exchanges import DECK
from app.services.generation import Job, Plan, Result
from app.tables import Exposure, Side
from app.views import ExchangeView, exchange_view

router = APIRouter(prefix="/exchanges")

MIN_EVENT_GAP_S = 0.05  # all text of this span goes into one event


@router.post("")
async def ask(
    request: Request,
    services: ServicesDep,
    is_htmx: IsHtmxDep,
    token: TokenDep,
    text: Annotated[str, Form()] = "",
    deck: Annotated[int | None, Form(ge=0, lt=len(DECK))] = None,
) -> Response:
    """Put a prompt to both. A script gets the panes to fill; a plain browser waits for the answers."""
    token = token or new_token()
    try:
        exposure, job = await start(services, token, text if deck is None else DECK[deck])
    except AppError as error:
        return refuse(request, services, error, is_htmx=is_htmx, text=text)
    if is_htmx:
        view = await load(services, token, exposure.public_id)
        response: Response = render(request, "exchanges/_exchange.html", exchange=view)
    else:
        services.generation.watch(job)
        try:
            await job.done()
        finally:
            services.generation.unwatch(exposure.public_id, job)
        response = RedirectResponse(f"/exchanges/{exposure.public_id}#exchange", status_code=303)
    response.set_cookie(
        COOKIE,
        token,
        max_age=COOKIE_MAX_AGE_S,
        httponly=True,
        samesite="lax",
        secure=services.settings.secure_cookies,
    )
    return response


async def start(services: Services, token: str, text: str) -> tuple[Exposure, Job]:
    """Keep the prompt and begin both answers; each is saved when it ends, whoever is watching."""
    generation = services.generation
    text = exchanges.clean_prompt(text)
    plans = generation.plan(text)
    generation.check_room()

    def create(session: Session) -> Exposure:
        participant = participants.find_or_create(session, token)
        return exchanges.create(session, participant, text, plans, services.checkpoint_ids)

    exposure = await services.db.write(create)
    ids = {Side.LEFT: exposure.left_id, Side.RIGHT: exposure.right_id}
    by_side: dict[Side, Plan] = {exchanges.SIDE_OF[plan.role]: plan for plan in plans}

    async def save(side: Side, result: Result) -> None:
        await services.db.write(lambda s: exchanges.save_result(s, ids[side], result))

    return exposure, generation.submit(exposure.public_id, by_side, save)


def refuse(
    request: Request, services: Services, error: AppError, *, is_htmx: bool, text: str
) -> Response:
    """Say what is wrong beside the box, and leave in it what was written."""
    sentence = translate(request, error.message, **error.values)
    if not is_htmx:
        return render_page(
            request, services, None, status=error.status, error=sentence, text=text[:10_000]
        )
    headers = {"HX-Retarget": "#composer-error", "HX-Reswap": "innerHTML"}
    return render(
        request, "_sentence.html", status=error.status, headers=headers, sentence=sentence
    )


async def load(services: Services, token: str | None, public_id: str) -> ExchangeView:
    def work(session: Session) -> ExchangeView:
        participant = participants.find(session, token)
        exposure = exchanges.get(session, participant, public_id)
        return exchange_view(session, exposure, services.generation)

    return await services.db.read(work)


@router.get("/{public_id}/stream")
async def stream(
    request: Request,
    services: ServicesDep,
    token: TokenDep,
    public_id: str,
    left: int = 0,
    right: int = 0,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Both sides in one stream. `left` and `right` say how many characters the page already shows."""
    await load(services, token, public_id)  # NotFound before the first byte is sent
    shown = {Side.LEFT: left, Side.RIGHT: right}
    if match := re.fullmatch(r"(\d+)-(\d+)", last_event_id or ""):
        shown = {Side.LEFT: int(match[1]), Side.RIGHT: int(match[2])}
    stop = anyio.Event()  # set when the server is told to exit
    return EventSourceResponse(
        events(request, services, token, public_id, shown, stop),
        ping=15,
        sep="\n",
        shutdown_event=stop,
        shutdown_grace_period=1.0,
        headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"},
    )


async def events(
    request: Request,
    services: Services,
    token: str | None,
    public_id: str,
    shown: dict[Side, int],
    stop: anyio.Event,
) -> AsyncIterator[dict[str, str]]:
    """New text for each side as it comes; the whole answer when a side is finished; then `done`."""
    job = services.generation.jobs.get(public_id)
    finished: set[Side] = set()
    if job:
        services.generation.watch(job)
        try:
            while len(finished) < len(Side) and not stop.is_set():
                changed = asyncio.ensure_future(job.changed())
                await asyncio.sleep(0)  # from here on no change is missed
                parts = [text_part(request, public_id, side, job, shown) for side in Side]
                for side in job.saved - finished:
                    finished.add(side)
                    parts.append(await answer_part(request, services, token, public_id, side))
                if data := "".join(parts):
                    yield {"id": f"{shown[Side.LEFT]}-{shown[Side.RIGHT]}", "data": data}
                    await asyncio.sleep(MIN_EVENT_GAP_S)
                if len(finished) < len(Side):
                    await changed
                changed.cancel()
        finally:
            services.generation.unwatch(public_id, job)
    else:  # finished before the browser came, or written by another process
        for side in Side:
            yield {"data": await answer_part(request, services, token, public_id, side)}
    yield {"event": "done", "data": "1"}


def text_part(
    request: Request, public_id: str, side: Side, job: Job, shown: dict[Side, int]
) -> str:
    """The characters of one side that the page does not show yet."""
    text = job.results[side].text
    new, shown[side] = text[shown[side] :], max(shown[side], len(text))
    if not new:
        return ""
    return to_html(request, "exchanges/_text_part.html", exchange_id=public_id, side=side, new=new)


async def answer_part(
    request: Request, services: Services, token: str | None, public_id: str, side: Side
) -> str:
    """One side's whole pane, thumbs and all, in the place of the one that was being filled."""
    view = await load(services, token, public_id)
    pane = next(p for p in view.panes if p.side == side)
    return to_html(request, "exchanges/_answer_part.html", pane=pane)
