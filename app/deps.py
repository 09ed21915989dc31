"""What routes are given: the database, the generation service, the visitor. The only reader of app.state.

They are coroutines because FastAPI sends each plain function to another thread, and waits for it, at every request.
"""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Response

from app.config import Settings
from app.db import Database
from app.limits import Limits
from app.security import COOKIE, COOKIE_MAX_AGE_S, TEACHER_COOKIE, keep_token
from app.services.generation import GenerationService
from app.services.presence import Presence
from app.services.room_generation import RoomWriter
from app.tables import Role


@dataclass(slots=True)
class Services:
    """What the parts of the app share; made in `main.py`."""

    settings: Settings
    db: Database
    generation: GenerationService
    checkpoint_ids: dict[Role, int]
    room_writer: RoomWriter
    presence: Presence
    limits: Limits


async def get_services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def get_token(request: Request) -> str | None:
    """The visitor's cookie, if there is one; only its hash is ever stored."""
    return request.cookies.get(COOKIE)


def leave_token(services: Services, response: Response, token: str) -> None:
    """The visitor's cookie, in the browser for as long as it lasts from today."""
    is_secure = services.settings.secure_cookies
    keep_token(response, COOKIE, token, max_age_s=COOKIE_MAX_AGE_S, is_secure=is_secure)


async def get_teacher_token(request: Request) -> str | None:
    return request.cookies.get(TEACHER_COOKIE)


def is_htmx(request: Request) -> bool:
    """Whether a script asks for a fragment, rather than a browser for a page."""
    return request.headers.get("hx-request") == "true"


async def get_is_htmx(request: Request) -> bool:
    return is_htmx(request)


ServicesDep = Annotated[Services, Depends(get_services)]
TeacherTokenDep = Annotated[str | None, Depends(get_teacher_token)]
TokenDep = Annotated[str | None, Depends(get_token)]
IsHtmxDep = Annotated[bool, Depends(get_is_htmx)]
