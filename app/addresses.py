"""Under which addresses this server is found: on this machine, by the room's phones, as a picture to scan."""

import ipaddress
import socket
from functools import lru_cache
from urllib.parse import urlsplit

import segno
from markupsafe import Markup

EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 (compared only)


def reachable_at(host: str) -> list[str]:
    """The hosts to open: for all of this machine's, its own and the one that the room's network sees."""
    if host not in EVERY_ADDRESS:
        return [f"[{host}]" if ":" in host else host]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("10.255.255.255", 1))  # sends nothing; asks which address would be used
            return list(dict.fromkeys(["127.0.0.1", probe.getsockname()[0]]))
        except OSError:
            return ["127.0.0.1"]


def for_phones(page_url: str, listens_on: str, public_url: str) -> str:
    """Scheme and host that the room's phones can open, given how the teacher's own window was opened.

    A teacher who sits at the server sees it as 127.0.0.1, which on a phone would be the phone.
    """
    if public_url:
        return public_url.rstrip("/")
    page = urlsplit(page_url)
    host, port = page.hostname or "", f":{page.port}" if page.port else ""
    if is_loopback(host):
        host = reachable_at(listens_on)[-1] if listens_on in EVERY_ADDRESS else host
    elif ":" in host:
        host = f"[{host}]"
    return f"{page.scheme}://{host}{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine itself can be meant, or asking."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_for_this_machine(url: str) -> bool:
    return is_loopback(urlsplit(url).hostname or "")


@lru_cache(maxsize=64)
def qr_svg(text: str) -> Markup:
    """A QR code to be put into a page. It carries no name: that is for the element around it."""
    svg = segno.make(text, error="m", micro=False).svg_inline(omitsize=True, svgclass="qr__code")
    return Markup(svg)  # noqa: S704 (segno's own markup: the text is only in the dots)


def qr_terminal(text: str) -> str:
    """The same for a terminal, in half blocks."""
    rows = [list(row) for row in segno.make(text, error="l", micro=False).matrix_iter(border=4)]
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))
    blocks = {(0, 0): "█", (0, 1): "▀", (1, 0): "▄", (1, 1): " "}  # light is drawn, dark is not
    return "\n".join(
        "".join(blocks[int(bool(a)), int(bool(b))] for a, b in zip(upper, lower, strict=True))
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    )
