"""Pages that are seldom seen, and the others in English: full of data, on every size of screen, light and dark."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from classroom import START, Classroom
from playwright.sync_api import Browser, Page, ViewportSize, expect
from sqlalchemy.orm import Session

from app.db import Database
from app.security import COOKIE, hash_token
from app.services import rooms, teachers
from app.services.exchanges import DECK
from app.tables import (
    AnswerKind,
    Author,
    Choice,
    Exposure,
    KeyKind,
    Participant,
    Phase,
    Prompt,
    Reason,
    Role,
    RoomKey,
    Round,
    Side,
    now,
)

pytestmark = pytest.mark.browser

CODES = {phase: f"TEMAS{n}" for n, phase in enumerate(Phase, 2)}
AFTERWARDS = re.compile("já foi apagada|Não há sala com este código")
PASSWORD = "muitas palavras"
FOLLOWS_MS = 10_000
NAMES = ("Capivara sábia de Minas Gerais", "Onça 👩‍👩‍👧‍👦🇧🇷", "<b>Tucano</b> 3")
QUESTION = "Por que o céu é azul, e por que ao entardecer ele fica vermelho, se o sol é o mesmo?"
BASE = "e o rei, que era muito bom, mandou chamar o seu ministro para que lhe dissesse " * 2
TUNED = "Porque a luz azul se espalha mais no ar do que a vermelha."
SIZES = {
    "phone": ViewportSize(width=360, height=740),
    "laptop": ViewportSize(width=1366, height=768),
    "4:3": ViewportSize(width=1024, height=768),
    "4k": ViewportSize(width=3840, height=2160),
}
VARIANTS = {
    "student": (("phone", "light", "pt-BR"), ("phone", "dark", "en")),
    "page": (("phone", "dark", "pt-BR"), ("laptop", "light", "en")),
    "projector": (("4:3", "light", "pt-BR"), ("4k", "dark", "en")),
}
PEOPLES_WORDS = "body [lang=pt-BR], [dir=auto], bdi, .chart__drawing"
IN_PORTUGUESE = """words => {  // what was left untranslated
  const nodes = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (nodes.nextNode()) found.push([nodes.currentNode.data, nodes.currentNode.parentElement]);
  for (const name of ['aria-label', 'placeholder', 'data-offline', 'data-alone', 'data-wait', 'data-text'])
    for (const element of document.querySelectorAll(`[${name}]`)) found.push([element.getAttribute(name), element]);
  return found.filter(([text, near]) => /[ãõçáéíóúâêô]/i.test(text) && !near.closest(words)).map(([text]) => text);
}"""
OVER = """[
  document.documentElement.scrollWidth - innerWidth,
  document.documentElement.scrollHeight - innerHeight,
]"""


def fill(session: Session) -> None:
    """The teacher's password, and a room in each phase."""
    teachers.set_password(session, PASSWORD)
    for phase, code in CODES.items():
        furnish(session, code, phase)


def furnish(session: Session, code: str, phase: Phase, question: str = DECK[2]) -> None:
    """A room that holds everything a room can hold."""
    class_ = Classroom(session, code)
    tokens = ((KeyKind.HOST, f"host-{code}"), (KeyKind.PROJECTOR, projector_token(code)))
    for kind, token in tokens:
        session.add(RoomKey(room_id=class_.room.id, kind=kind, token_hash=hash_token(token)))
    people = class_.people(14)
    for n, person in enumerate(people):
        person.token_hash = rooms.member_hash(class_.room, f"cookie-{n}")
        person.last_seen_at = now() + timedelta(hours=6 if n % 4 else -6)
        person.has_more_time = n == 5
    for person, name in zip(people, NAMES, strict=False):
        person.pseudonym = name
    people[-1].removed_at = people[-2].removed_at = now()
    play(class_, people, DECK[1], AnswerKind.WORDS)
    last = play(class_, people, question, AnswerKind.NUMBER)
    shown, *_ = [ask(class_, people[n], is_approved=n < 2) for n in range(3)]
    bring_back(last, phase)
    class_.room.phase, class_.room.allows_free_play = phase, True
    class_.room.vote_round = 2 if phase == Phase.SECOND_VOTE else 1
    class_.room.shown_prompt_id = shown.id if phase == Phase.LOBBY else None


def projector_token(code: str) -> str:
    return rooms.projector_token(f"host-{code}")


def play(class_: Classroom, people: list[Participant], text: str, kind: AnswerKind) -> Round:
    """A round from the first answer to the second vote."""
    round_ = class_.round(class_.prompt(text, kind), texts={Role.BASE: BASE, Role.TUNED: TUNED})
    round_.released_at = round_.opened_at = round_.closed_at = round_.revealed_at = START
    for n, person in enumerate(people):
        tuned, base = (Side.LEFT, Side.RIGHT) if n % 2 else (Side.RIGHT, Side.LEFT)
        shown = class_.show(round_, person, tuned)
        for vote_round in (1, 2):
            class_.thumb(shown, tuned, 1 if n % 3 else -1, vote_round)
            class_.thumb(shown, base, -1 if n % 4 else 1, vote_round)
            choice = (Choice(tuned), Choice(base), Choice.TIE, Choice.BOTH_BAD)[n // 2 % 4]
            class_.prefer(shown, choice, vote_round)
        class_.reasons(shown, base, [Reason.ONLY_CONTINUED, Reason.INVENTED])
        class_.guess(shown, base)
        number = kind == AnswerKind.NUMBER
        class_.answer(round_, person, str(n * 7 + 2) if number else f"maçã e martelo {n % 5}")
    class_.samples(round_, Role.BASE, [f"{n} frases que continuam" for n in range(40)])
    class_.samples(round_, Role.TUNED, ["37", "42", "37"] * 13)
    return round_


def ask(class_: Classroom, person: Participant, *, is_approved: bool) -> Prompt:
    """A student's own question, offered to the class."""
    approved_at = now() if is_approved else None
    prompt = class_.prompt(QUESTION, AnswerKind.TEXT, Author.STUDENT, person, approved_at)
    prompt.offered_at = now()
    base, tuned = (
        class_.generation(prompt, role, text)
        for role, text in ((Role.BASE, BASE), (Role.TUNED, TUNED))
    )
    class_.session.add(
        Exposure(
            public_id=f"{class_.room.code}-{prompt.id}",
            participant_id=person.id,
            prompt_id=prompt.id,
            left_id=base.id,
            right_id=tuned.id,
            revealed_at=now(),
        )
    )
    return prompt


def bring_back(round_: Round, phase: Phase) -> None:
    """The round as it was in a phase before its end."""
    if phase in (Phase.HUMAN, Phase.ANSWERS, Phase.VOTING, Phase.CLOSED):
        round_.revealed_at = None
    if phase in (Phase.HUMAN, Phase.ANSWERS):
        round_.opened_at = None
    if phase == Phase.HUMAN:
        round_.released_at = round_.base_id = round_.tuned_id = None


def host(phase: Phase) -> str:
    return f"/host/host-{CODES[phase]}"


def projector(phase: Phase) -> str:
    return f"/projector/{projector_token(CODES[phase])}"


def summary_sheet(page: Page) -> None:
    page.keyboard.press("s")
    expect(page.locator("#summary")).to_be_visible()


def wrong_password(page: Page) -> None:
    page.locator("#password").fill("adivinhada")
    page.locator("#password").press("Enter")
    expect(page.get_by_role("alert").first).not_to_be_empty()


def signed_in(page: Page) -> None:
    page.locator("#password").fill(PASSWORD)
    page.locator("#password").press("Enter")
    expect(page.get_by_test_id("room").first).to_be_visible()


def everything_open(page: Page) -> None:
    for summary in page.locator("summary:visible").all():
        summary.click()


def nothing(page: Page) -> None:
    """The page as it comes."""


PAGES: dict[str, tuple[str, str, Callable[[Page], None]]] = {
    "front": ("page", "/?new=1", everything_open),
    "code": ("student", "/join", nothing),
    "wrong-code": ("student", "/s/ZZZ999", nothing),
    "nowhere": ("page", "/nenhures", nothing),
    "no-host": ("page", "/host/adivinhado", nothing),
    "no-projector": ("projector", "/projector/adivinhado", nothing),
    "password": ("page", "/teacher", nothing),
    "wrong-password": ("page", "/teacher", wrong_password),
    "old-link": ("page", "/teacher/enter/velho", nothing),
    "rooms": ("page", "/teacher", signed_in),
    "report": ("page", f"{host(Phase.LOBBY)}/report", nothing),
    "erase": ("page", f"{host(Phase.LOBBY)}/erase", nothing),
    "summary": ("page", f"{projector(Phase.LOBBY)}/summary", nothing),
    "no-summary": ("page", f"{projector(Phase.VOTING)}/summary", nothing),
    "sheet": ("projector", projector(Phase.REVEAL), summary_sheet),
    "help": ("projector", projector(Phase.LOBBY), lambda page: page.keyboard.press("?")),
    "phone-out": ("student", f"/s/{CODES[Phase.REVEAL]}", nothing),
    **{f"phone-{p}": ("student", f"/s/{CODES[p]}", everything_open) for p in Phase},
    **{f"host-{p}": ("page", host(p), everything_open) for p in Phase},
    **{f"projector-{p}": ("projector", projector(p), nothing) for p in Phase},
}


IN_OTHER_TESTS = {  # these in Portuguese
    f"{window}-{phase}"
    for window in ("phone", "host", "projector")
    for phase in Phase
    if phase != Phase.LOBBY
}
CASES = [(name, n) for name in PAGES for n in range(2) if n or name not in IN_OTHER_TESTS]


@pytest.fixture(scope="module")
def school(db: Database, url: str) -> str:
    db.write_now(fill)
    return url


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_a_page_fits_can_be_read_by_all_and_speaks_one_language(
    browser: Browser, school: str, faults: Callable[[Page], list[str]], name: str, variant: int
) -> None:
    kind, path, prepare = PAGES[name]
    size, scheme, language = VARIANTS[kind][variant]
    context = browser.new_context(
        viewport=SIZES[size],
        color_scheme=scheme,  # type: ignore[arg-type]
        locale=language,
    )
    cookie = "cookie-13" if name == "phone-out" else "cookie-1"
    context.add_cookies([{"name": COOKIE, "value": cookie, "url": school}])
    page = context.new_page()
    page.on("pageerror", lambda error: pytest.fail(f"the page's script failed: {error}"))
    page.goto(school + path)
    prepare(page)
    page.evaluate("document.fonts.ready")
    assert page.locator("html").get_attribute("lang") == language
    assert faults(page) == []
    over_x, over_y = page.evaluate(OVER)
    assert over_x <= 0
    assert kind != "projector" or over_y <= 0
    found = page.evaluate(IN_PORTUGUESE, PEOPLES_WORDS)
    assert found if language == "pt-BR" else not found, found
    context.close()


@pytest.mark.parametrize("phase", [Phase.HUMAN, Phase.VOTING, Phase.REVEAL])
def test_a_question_of_a_hundred_lines_leaves_room_for_the_rest(
    browser: Browser, school: str, db: Database, phase: Phase
) -> None:
    code = f"LINHA{CODES[phase][-1]}"
    lines = "Diga:\n" + "\n" * 100 + "fim"
    db.write_now(lambda session: furnish(session, code, phase, lines))
    page = browser.new_page(viewport=SIZES["4:3"], locale="pt-BR")
    page.goto(f"{school}/projector/{projector_token(code)}")
    rest = page.locator("[data-testid=n-answered], .duo__text, .stage__foot")
    for part in rest.all():
        box = part.bounding_box()
        assert box
        assert box["height"] > 15
        assert box["y"] + box["height"] <= SIZES["4:3"]["height"]
    page.close()


def test_an_erased_room_says_so_in_every_window_and_for_good(
    browser: Browser, school: str, db: Database, faults: Callable[[Page], list[str]]
) -> None:
    db.write_now(lambda session: furnish(session, "APAGA2", Phase.VOTING))
    context = browser.new_context(locale="pt-BR", viewport=SIZES["4:3"])
    context.add_cookies([{"name": COOKIE, "value": "cookie-1", "url": school}])
    windows = []
    for path in ("host/host-APAGA2", f"projector/{projector_token('APAGA2')}", "s/APAGA2"):
        windows.append(context.new_page())
        windows[-1].goto(f"{school}/{path}")
    page = context.new_page()
    page.goto(f"{school}/host/host-APAGA2/erase")
    page.get_by_test_id("erase-confirm").click()
    page.wait_for_url("**/teacher")
    for window in windows:
        window.bring_to_front()
        expect(window.locator("main")).to_contain_text("foi apagada", timeout=FOLLOWS_MS)
        assert faults(window) == []
        window.reload()
        assert faults(window) == []
        expect(window.locator("main")).to_contain_text(AFTERWARDS)
    context.close()


def test_nothing_moves_for_whom_movement_disturbs(browser: Browser, school: str) -> None:
    n_moving = []
    for motion in ("no-preference", "reduce"):
        context = browser.new_context(locale="pt-BR", reduced_motion=motion)
        context.add_cookies([{"name": COOKIE, "value": "cookie-1", "url": school}])
        page = context.new_page()
        page.goto(f"{school}/s/{CODES[Phase.LOBBY]}")
        expect(page.locator(".dot").first).to_be_visible()
        n_moving.append(page.evaluate("document.getAnimations().length"))
        context.close()
    assert n_moving[0] >= 3
    assert n_moving[1] == 0
