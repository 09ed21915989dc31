"""What a teacher takes home: files for other programs, and the report. Opened with the host's token."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.deps import ServicesDep
from app.errors import N_, NotFound
from app.render import render
from app.services import exports, rooms
from app.services.exports import Format
from app.services.report import Report, read_report
from app.tables import KeyKind, Role

router = APIRouter(prefix="/host/{token}")

NAMES = {
    "csv": Format.CSV,
    "jsonl": Format.JSONL,
    "kto.jsonl": Format.KTO,
    "dpo.jsonl": Format.DPO,
    "llm-comparator": Format.LLM_COMPARATOR,
}
ANSWERS = {"tuned": (Role.TUNED,), "both": tuple(Role)}


@router.get("/export/{name}")
async def download(
    services: ServicesDep, token: str, name: str, answers: Annotated[str, Query()] = "tuned"
) -> Response:
    """One file: csv, jsonl, kto.jsonl, dpo.jsonl or llm-comparator; KTO rows of `?answers=both` on demand."""
    format_ = NAMES.get(name)
    if format_ is None or answers not in ANSWERS:
        raise NotFound(N_("Esta página não existe."))

    def work(session: Session) -> exports.File:
        room = rooms.by_key(session, KeyKind.HOST, token)
        return exports.export(session, room, format_, ANSWERS[answers])

    file = await services.db.read(work)
    headers = {
        "Content-Disposition": f'attachment; filename="{file.name}"',
        "Cache-Control": "no-store",
    }
    return Response(file.text, media_type=file.media_type, headers=headers)


@router.get("/report")
async def report(request: Request, services: ServicesDep, token: str) -> Response:
    """The class on one to three pages of paper, for the school."""

    def work(session: Session) -> Report:
        return read_report(session, rooms.by_key(session, KeyKind.HOST, token))

    found = await services.db.read(work)
    headers = {"Cache-Control": "no-store"}
    return render(request, "report/report.html", headers=headers, report=found)
