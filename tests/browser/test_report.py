"""The report of a whole lesson: on a phone, on a dark screen, and on three pages of paper."""

import re
from collections.abc import Callable

import pytest
from classroom import Classroom
from playwright.sync_api import Browser, Page
from sqlalchemy.orm import Session

from app.db import Database
from app.security import hash_token
from app.services.exchanges import DECK
from app.services.rooms import DECK_KINDS
from app.tables import AnswerKind, Choice, KeyKind, Reason, Role, RoomKey, Side

pytestmark = pytest.mark.browser

LONG = (
    " e o rei, que era muito bom, mandou chamar o seu ministro para que lhe dissesse o que era" * 2
)
SMALLEST = """() => Math.min(...[...document.querySelectorAll('svg.chart__drawing text')].map(text => {
  const svg = text.ownerSVGElement.getBoundingClientRect();
  return parseFloat(getComputedStyle(text).fontSize) * svg.width / 400;
}))"""
OUTSIDE = """() => [...document.querySelectorAll('svg.chart__drawing')].filter(svg => {
  const box = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text, rect:not(defs *), circle:not(defs *)')].some(part => {
    const inner = part.getBoundingClientRect();
    return inner.left < box.left - 2 || inner.right > box.right + 2;
  });
}).map(svg => svg.textContent)"""


def a_lesson(session: Session, code: str, n_people: int) -> None:
    """The lecture's five prompts, a second vote at the third."""
    room = Classroom(session, code)
    session.add(
        RoomKey(room_id=room.room.id, kind=KeyKind.HOST, token_hash=hash_token(f"host{code}"))
    )
    people = room.people(n_people)
    for text, kind in zip(DECK, DECK_KINDS, strict=True):
        texts = {Role.BASE: LONG, Role.TUNED: "Trinta e sete, maçã e martelo."}
        round_ = room.round(room.prompt(text, kind), texts=texts)
        for i, person in enumerate(people):
            tuned, base = (Side.LEFT, Side.RIGHT) if i % 2 else (Side.RIGHT, Side.LEFT)
            exposure = room.show(round_, person, tuned)
            room.thumb(exposure, tuned, 1 if i % 3 else -1)
            room.thumb(exposure, base, -1 if i % 4 else 1)
            room.reasons(exposure, base, [Reason.ONLY_CONTINUED, Reason.INVENTED])
            room.reasons(exposure, tuned, [Reason.SYCOPHANTIC, Reason.NO_ANSWER])
            room.prefer(
                exposure, (Choice(tuned), Choice(base), Choice.TIE, Choice.BOTH_BAD)[i // 2 % 4]
            )
            room.guess(exposure, base)
            if kind == AnswerKind.NUMBER:
                room.thumb(exposure, tuned, 1, 2)
                room.prefer(exposure, Choice(tuned), 2)
            room.answer(round_, person, str(i * 7 % 100 + 1) if i % 2 else f"resposta {i % 12}")
        room.samples(round_, Role.BASE, [f"{i % 50 + 1} frases que continuam" for i in range(60)])
        room.samples(round_, Role.TUNED, ["37", "42", "37"] * 20)


@pytest.mark.parametrize(("code", "n_people"), [("POUCA2", 6), ("MUITA2", 60)])
def test_a_lesson_fits_on_three_pages_and_on_a_phone(
    browser: Browser,
    url: str,
    db: Database,
    faults: Callable[[Page], list[str]],
    code: str,
    n_people: int,
) -> None:
    db.write_now(lambda session: a_lesson(session, code, n_people))
    for scheme, width in (("light", 360), ("dark", 1280)):
        context = browser.new_context(locale="pt-BR", color_scheme=scheme)  # type: ignore[arg-type]
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": 800})
        page.goto(f"{url}/host/host{code}/report")
        page.evaluate("document.fonts.ready")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(SMALLEST) >= 10.5
        assert page.evaluate(OUTSIDE) == []
        assert faults(page) == []
        pdf = page.pdf(prefer_css_page_size=True)
        assert len(re.findall(rb"/Type\s*/Page\b", pdf)) in (2, 3)
        context.close()
