"""The projector's page: what the whole class sees. It follows the room and moves nothing."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.addresses import for_phones, qr_svg
from app.deps import IsHtmxDep, Services, ServicesDep
from app.errors import NotFound
from app.events import room_topic
from app.projector_views import ProjectorView, projector_view, summary
from app.render import render, to_html
from app.routes.live import live
from app.tables import Phase

router = APIRouter(prefix="/projector/{token}")

PRIVATE = {"Cache-Control": "no-store"}
GAP_S = 1.0  # at most one snapshot a second,
RELEASE_GAP_S = 0.3  # but while the answers come into view
AGAIN_S = 5.0  # people leave without a word


def context(request: Request, services: Services, view: ProjectorView) -> dict[str, Any]:
    settings = services.settings
    phones = for_phones(str(request.url), settings.host, settings.public_url)
    join_url = f"{phones}/s/{view.room.code}"
    return {"view": view, "join_url": join_url, "qr": qr_svg(join_url)}


@router.get("")
async def page(request: Request, services: ServicesDep, token: str) -> Response:
    view = await services.db.read(lambda session: projector_view(session, token))
    shared = context(request, services, view)
    return render(request, "projector/projector.html", headers=PRIVATE, **shared)


@router.get("/stream")
async def stream(request: Request, services: ServicesDep, token: str) -> Response:
    """The whole stage whenever it has changed."""
    first = await services.db.read(lambda session: projector_view(session, token))

    async def redraw() -> tuple[str, float | None]:
        try:
            view = await services.db.read(lambda session: projector_view(session, token))
        except NotFound:
            return to_html(request, "projector/_erased.html"), None
        html = to_html(request, "projector/_stage_part.html", **context(request, services, view))
        is_coming = view.phase == Phase.ANSWERS and 0 < view.share < 1
        return html, RELEASE_GAP_S if is_coming else AGAIN_S

    return live(services.db.hub, room_topic(first.room.id), redraw, gap_s=GAP_S)


@router.get("/summary")
async def whole_class(
    request: Request, services: ServicesDep, is_htmx: IsHtmxDep, token: str
) -> Response:
    """All rounds together, on demand."""
    found = await services.db.read(lambda session: summary(session, token))
    template = "projector/_summary.html" if is_htmx else "projector/summary.html"
    return render(request, template, headers=PRIVATE, summary=found, token=token)
