"""What a teacher takes home: files for other programs, and the report. Opened with the host's token."""

from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.deps import ServicesDep
from app.errors import N_, NotFound
from app.services import exports, rooms
from app.services.exports import Format
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
