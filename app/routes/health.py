"""Whether the server can do its work: the pair is loaded, the database answers, the engine runs."""

import asyncio

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError

from app.deps import ServicesDep

router = APIRouter()


@router.get("/healthz")
async def healthz(services: ServicesDep) -> JSONResponse:
    try:
        await asyncio.to_thread(services.db.ping)
        database = "ok"
    except SQLAlchemyError as error:
        database = type(error).__name__
    engine = "ok" if services.generation.is_alive else "stopped"
    is_well = database == engine == "ok"
    pair = {fact.role.value: fact.sha256 for fact in services.generation.facts}
    body = {
        "status": "ok" if is_well else "error",
        "database": database,
        "engine": engine,
        "engine_restarts": services.generation.worker.n_restarts,
        "pair": pair,
    }
    return JSONResponse(body, 200 if is_well else 503)
