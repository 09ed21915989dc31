"""Asking both checkpoints, and reading their answers as they are written."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from fastapi import APIRouter, Form, Header, Request
from fastapi.responses import RedirectResponse
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from sse_starlette import EventSourceResponse
from starlette.responses import Response

from app.deps import IsHtmxDep, Services, ServicesDep, TokenDep, leave_token
from app.errors import AppError, database_busy, retry_after
from app.render import render, to_html, translate
from app.routes.pages import render_page
from app.security import hash_token, new_token
from app.services import exchanges, participants
from app.services.asking import Ask, create_all
from app.services.exchanges import DECK, End
from app.services.jobs import Asked, Job, Plan, Result
from app.tables import Side
from app.views import ExchangeView, PaneView, Works, exchange_view, finished_pane

router = APIRouter(prefix="/exchanges")

MIN_EVENT_GAP_S = 0.05  # all text of this span goes into one event
EVENT_GAP_S = 0.002  # more for each exchange in the works: a full room's events would take a core of their own


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
        public_id, job = await start(services, token, text if deck is None else DECK[deck])
    except AppError as error:
        return refuse(request, services, error, is_htmx=is_htmx, text=text)
    except OperationalError as error:
        return refuse(request, services, database_busy(error), is_htmx=is_htmx, text=text)
    if is_htmx:
        view = await load(services, token, public_id)
        headers = {"HX-Replace-Url": "/"}  # where a reload finds this exchange again
        response: Response = render(
            request, "exchanges/_new_exchange.html", headers=headers, exchange=view
        )
    else:
        with services.generation.watching(job):
            await job.done()
        response = RedirectResponse(f"/exchanges/{public_id}#exchange", status_code=303)
    leave_token(services, response, token)
    return response


async def start(services: Services, token: str, text: str, code: str = "") -> tuple[str, Job]:
    """Keep the prompt and begin both answers; each is saved when it ends, whoever is watching.

    With a code: as a participant of that room, whose host must allow it.
    """
    generation = services.generation
    text = exchanges.clean_prompt(text)
    plans = generation.plan(text)
    job = generation.reserve(exchanges.new_public_id())

    ask = Ask(
        cookie=token,
        public_id=job.key,
        text=text,
        plans=plans,
        checkpoint_ids=services.checkpoint_ids,
    )
    try:
        exposure = await services.db.write_together(create_all, code, ask)
    except BaseException:
        generation.release(job)
        raise
    ids = {Side.LEFT: exposure.left_id, Side.RIGHT: exposure.right_id}
    by_side: dict[Side, Plan] = {exchanges.SIDE_OF[plan.role]: plan for plan in plans}

    async def save(side: Side, result: Result) -> None:
        end = End(ids[side], by_side[side].params.seed, result)
        await services.db.write_together(exchanges.save_all, "", end)

    job.asked = Asked(hash_token(token), text, by_side)
    generation.submit(job, by_side, save, owner=str(exposure.participant_id))
    return job.key, job


def refuse(
    request: Request, services: Services, error: AppError, *, is_htmx: bool, text: str
) -> Response:
    """Say what is wrong beside the box, and leave in it what was written."""
    sentence = translate(request, error.message, **error.values)
    if is_htmx:
        headers = {"HX-Retarget": "#composer-error", "HX-Reswap": "innerHTML"}
        response: Response = render(
            request, "_sentence.html", status=error.status, headers=headers, sentence=sentence
        )
    else:
        response = render_page(
            request, services, None, status=error.status, error=sentence, text=text[:20_000]
        )
    response.headers.update(retry_after(error))
    return response


async def load(services: Services, token: str | None, public_id: str) -> ExchangeView:
    works = Works.now(services.generation)
    if running := works.seen_by(token, public_id):
        return running

    def work(session: Session) -> ExchangeView:
        participant = participants.of_exchange(session, token, public_id)
        exposure = exchanges.get(session, participant, public_id)
        return exchange_view(session, exposure, works)

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
    view = await load(services, token, public_id)  # NotFound before the first byte is sent
    shown = {Side.LEFT: left, Side.RIGHT: right}
    if match := re.fullmatch(r"(\d+)-(\d+)", last_event_id or ""):
        shown = {Side.LEFT: int(match[1]), Side.RIGHT: int(match[2])}
    stop = anyio.Event()  # set when the server is told to exit
    return EventSourceResponse(
        events(request, services, view, shown, stop),
        ping=15,
        sep="\n",
        shutdown_event=stop,
        shutdown_grace_period=1.0,
        headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"},
    )


async def events(
    request: Request,
    services: Services,
    view: ExchangeView,
    shown: dict[Side, int],
    stop: anyio.Event,
) -> AsyncIterator[dict[str, str]]:
    """New text for each side as it comes; the whole answer when a side is finished; then `done`.

    `view`: the exchange as the database has it now.
    """
    job, panes = view.job, {pane.side: pane for pane in view.panes}
    finished: set[Side] = set()
    if job is None:  # finished before the browser came
        for side in Side:
            yield {"data": answer_part(request, panes[side])}
        yield {"event": "done", "data": "1"}
        return
    with services.generation.watching(job):
        while len(finished) < len(Side):
            change = job.change
            parts = [text_part(request, job, side, shown) for side in Side]
            for side in job.saved - finished:
                finished.add(side)
                parts.append(answer_part(request, finished_pane(panes[side], job.results[side])))
            if data := "".join(parts):
                yield {"id": f"{shown[Side.LEFT]}-{shown[Side.RIGHT]}", "data": data}
                n_jobs = len(services.generation.jobs)
                await asyncio.sleep(max(MIN_EVENT_GAP_S, n_jobs * EVENT_GAP_S))
            elif stop.is_set():
                return  # without `done`: the browser comes back to the restarted server
            else:
                await first_of(change, stop)
    yield {"event": "done", "data": "1"}


async def first_of(change: asyncio.Event, stop: anyio.Event) -> None:
    """Until either event."""
    async with anyio.create_task_group() as group:

        async def wait(event: asyncio.Event | anyio.Event) -> None:
            await event.wait()
            group.cancel_scope.cancel()

        group.start_soon(wait, change)
        group.start_soon(wait, stop)


def text_part(request: Request, job: Job, side: Side, shown: dict[Side, int]) -> str:
    """The characters of one side that the page does not show yet."""
    text = job.results[side].text
    new, shown[side] = text[shown[side] :], max(shown[side], len(text))
    if not new:
        return ""
    return to_html(request, "exchanges/_text_part.html", exchange_id=job.key, side=side, new=new)


def answer_part(request: Request, pane: PaneView) -> str:
    """One side's whole pane, thumbs and all, in the place of the one that was being filled."""
    return to_html(request, "exchanges/_answer_part.html", pane=pane)
