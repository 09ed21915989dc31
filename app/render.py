"""Templates to responses: one Jinja environment per language, nothing undefined, everything escaped."""

import hashlib
from functools import cache
from pathlib import Path

from babel.dates import format_date
from babel.numbers import format_decimal
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from app import resource
from app.i18n import LOCALES, locale_of, translations

STATIC = resource("static")


@cache
def environment(locale: str) -> Environment:
    env = Environment(
        loader=FileSystemLoader(resource("templates")),
        autoescape=True,
        auto_reload=False,  # a full room would look at the files' dates thousands of times a second
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    env.install_gettext_translations(translations(locale), newstyle=True)  # type: ignore[attr-defined]
    env.globals.update(static_url=static_url, locale=locale, locales=LOCALES)
    env.filters["decimal"] = lambda value, digits=0: format_decimal(
        round(value, digits), locale=locale
    )
    env.filters["day"] = lambda at: format_date(at.astimezone(), locale=locale)
    env.filters["visible_space"] = visible_space
    return env


def render(
    request: Request,
    template: str,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
    **context: object,
) -> HTMLResponse:
    return HTMLResponse(to_html(request, template, **context), status, headers)


def to_html(request: Request, template: str, **context: object) -> str:
    env = environment(locale_of(request))
    return env.get_template(template).render(request=request, **context)


def translate(request: Request, message: str, **values: object) -> str:
    """A message in the visitor's language, its values put in."""
    return translations(locale_of(request)).gettext(message) % values


@cache
def static_url(path: str) -> str:
    """The address of a file in static/, with its hash, so that browsers may keep it for ever."""
    digest = hashlib.sha256((Path(STATIC) / path).read_bytes()).hexdigest()[:10]
    return f"/static/{path}?v={digest}"


def visible_space(text: str) -> Markup:
    """A token's text with its spaces and line ends to be seen."""
    shown = escape(text.replace("\n", "⏎").replace("\t", "⇥"))
    return Markup(shown.replace(" ", Markup('<span class="token__space">·</span>')))  # noqa: S704 (escaped above)
