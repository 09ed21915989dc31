"""Who a browser is (a random cookie, kept as a hash), and which requests and contents are trusted."""

import hashlib
import secrets
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "participante"
TEACHER_COOKIE = "professor"
COOKIE_MAX_AGE_S = 30 * 24 * 3600
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "referrer-policy": "same-origin",  # with no-referrer browsers would send "Origin: null"
    "x-content-type-options": "nosniff",
}


def new_token() -> str:
    return secrets.token_urlsafe(24)


def keep_token(
    response: Response, name: str, token: str, *, max_age_s: int, is_secure: bool
) -> None:
    """Leave a token in the browser, out of reach of scripts and of other sites' forms."""
    response.set_cookie(
        name, token, max_age=max_age_s, httponly=True, samesite="lax", secure=is_secure
    )


def hash_token(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class SameOrigin:
    """Refuses forms that another site sends in a visitor's name.

    In a classroom the address is plain http, where browsers send no Sec-Fetch-Site: then Origin must be Host.
    """

    def __init__(self, app: ASGIApp, trusted: frozenset[str] = frozenset()) -> None:
        self.app, self.trusted = app, trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self.is_trusted(scope["method"], dict(scope["headers"])):
            start = {"type": "http.response.start", "status": 403}
            headers = [
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"hx-retarget", b"#notice"),
                (b"hx-reswap", b"innerHTML"),
            ]
            await send({**start, "headers": headers})
            await send({"type": "http.response.body", "body": b"Pedido de outro site recusado."})
            return
        await self.app(scope, receive, send)

    def is_trusted(self, method: str, headers: dict[bytes, bytes]) -> bool:
        if method in SAFE_METHODS:
            return True
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin in self.trusted:
            return True
        site = headers.get(b"sec-fetch-site")
        if site is not None:
            return site in (b"same-origin", b"none")
        return not origin or urlsplit(origin).netloc == headers.get(b"host", b"").decode("latin-1")


class SecurityHeaders:
    """Nothing from elsewhere, no inline script or style, no frame."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.headers = [(k.encode(), v.encode()) for k, v in HEADERS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self.headers]
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)
