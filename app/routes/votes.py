"""Thumbs on answers."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.deps import IsHtmxDep, ServicesDep, TokenDep
from app.render import render
from app.services import participants, votes
from app.tables import Side
from app.views import PaneView, Works, pane_view

router = APIRouter(prefix="/exchanges")


@router.post("/{public_id}/votes")
async def vote(
    request: Request,
    services: ServicesDep,
    token: TokenDep,
    is_htmx: IsHtmxDep,
    public_id: str,
    side: Annotated[Side, Form()],
    value: Annotated[int, Form(ge=-1, le=1)],
    key: Annotated[str, Form(max_length=64, pattern=r"^[\w-]+$")],
) -> Response:
    """Thumb up (1), down (-1), or taken back (0)."""

    works = Works.now(services.generation)

    def cast(session: Session) -> PaneView:
        participant = participants.of_exchange(session, token, public_id)
        exposure = votes.cast_thumb(session, participant, public_id, side, value or None, key)
        thumb = votes.current_thumbs(session, exposure).get(side)
        return pane_view(exposure, side, thumb, works)

    pane = await services.db.write(cast)
    if is_htmx:
        return render(request, "exchanges/_rating.html", pane=pane)
    return RedirectResponse(f"/exchanges/{public_id}#answer-{side}-{public_id}", status_code=303)
