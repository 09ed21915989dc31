"""Two languages: Portuguese, in which the texts are written, and English, from the catalogue in `locale/`."""

from functools import cache
from gettext import NullTranslations
from io import BytesIO
from pathlib import Path

from babel.core import negotiate_locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import Translations
from starlette.requests import Request

LOCALES = {"pt_BR": "Português", "en": "English"}
DEFAULT = "pt_BR"
COOKIE = "idioma"
CATALOGUES = Path(__file__).resolve().parent / "locale"


@cache
def translations(locale: str) -> NullTranslations:
    """The catalogue of a locale, compiled in memory so that none can go stale on disk."""
    path = CATALOGUES / locale / "LC_MESSAGES" / "messages.po"
    if not path.exists():
        return NullTranslations()
    buffer = BytesIO()
    with path.open("rb") as file:
        write_mo(buffer, read_po(file, locale=locale))
    buffer.seek(0)
    return Translations(buffer)


def locale_of(request: Request) -> str:
    """What the visitor chose, else the best of what the browser asks for."""
    chosen = request.cookies.get(COOKIE)
    if chosen in LOCALES:
        return chosen
    wanted = [
        part.split(";")[0].strip()
        for part in request.headers.get("accept-language", "").split(",")
        if part.strip()
    ]
    found = negotiate_locale(
        [w.replace("-", "_") for w in wanted], list(LOCALES), aliases={"pt": "pt_BR"}
    )
    if found is None and any(w.lower().startswith("pt") for w in wanted):
        return DEFAULT
    return found or (DEFAULT if not wanted else "en")
