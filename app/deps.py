"""What routes are given: the database, the generation service, the visitor. The only reader of app.state."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.config import Settings
from app.db import Database
from app.security import COOKIE
from app.services.generation import GenerationService
from app.tables import Role


@dataclass(slots=True)
class Services:
    """What the parts of the app share; made in `main.py`."""

    settings: Settings
    db: Database
    generation: GenerationService
    checkpoint_ids: dict[Role, int]


def get_services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def get_token(request: Request) -> str | None:
    """The visitor's cookie, if there is one; only its hash is ever stored."""
    return request.cookies.get(COOKIE)


def is_htmx(request: Request) -> bool:
    """Whether a script asks for a fragment, rather than a browser for a page."""
    return request.headers.get("hx-request") == "true"


ServicesDep = Annotated[Services, Depends(get_services)]
TokenDep = Annotated[str | None, Depends(get_token)]
IsHtmxDep = Annotated[bool, Depends(is_htmx)]
