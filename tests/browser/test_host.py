"""The host's window and the projector beside it: what must not be lost, what keys do, and that it fits and can be read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from sqlalchemy.orm import Session
from support import answer, cast, rows

from app.db import Database
from app.services import rooms, teachers
from app.services.room_votes import Ballot
from app.tables import Choice, Room, Target, VoteKind, now

pytestmark = pytest.mark.browser

FOLLOWS_MS = 10_000
SIZES = {"laptop": (1366, 768), "phone": (390, 844), "4:3": (1024, 768), "4k": (3840, 2160)}
WORDS = ("maçã e martelo", "banana e martelo", "Maçã e serrote", "uva e alicate")


@dataclass
class Lesson:
    """One room, its two addresses, and its students, who act through the services."""

    url: str
    db: Database
    room_id: int
    host: str
    projector: str

    def do(self, work: Callable[[Session, Room], object]) -> None:
        self.db.write_now(lambda session: work(session, session.get_one(Room, self.room_id)))


@pytest.fixture
def lesson(url: str, db: Database) -> Lesson:
    room, tokens = db.write_now(rooms.create)
    return Lesson(
        url, db, room.id, f"{url}/host/{tokens.host}", f"{url}/projector/{tokens.projector}"
    )


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(locale="pt-BR", viewport={"width": 1366, "height": 768})
    yield context
    context.close()


def opened(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.on("pageerror", lambda error: pytest.fail(f"the page's script failed: {error}"))
    page.goto(address)
    return page


def expect_phase(page: Page, phase: str) -> None:
    expect(page.get_by_test_id("phase")).to_have_attribute(
        "data-phase", phase, timeout=3 * FOLLOWS_MS
    )


def join_twelve(session: Session, room: Room) -> None:
    for n in range(12):
        rooms.join(session, room, f"aluno {n}").last_seen_at = now() + timedelta(hours=1)


def say_words(session: Session, room: Room) -> None:
    for n, person in enumerate(rooms.participants(session, room)):
        answer(session, room, person, WORDS[n % len(WORDS)])


def vote(session: Session, room: Room) -> None:
    for n, person in enumerate(rooms.participants(session, room)):
        key = f"{room.vote_round} {n}"
        left = Ballot(kind=VoteKind.THUMB, target=Target.LEFT, value=1 if n % 3 else -1)
        cast(session, room, person, left, f"{key} a")
        choice = (Choice.LEFT, Choice.RIGHT, Choice.TIE, Choice.BOTH_BAD)[n % 4]
        pair = Ballot(kind=VoteKind.PREFERENCE, target=Target.PAIR, choice=choice)
        cast(session, room, person, pair, f"{key} b")
        if room.vote_round == 1:
            guess = Ballot(kind=VoteKind.GUESS, target=Target.PAIR, choice=Choice.LEFT)
            cast(session, room, person, guess, f"{key} c")


def test_what_is_half_done_survives_what_happens_elsewhere(
    context: BrowserContext, lesson: Lesson
) -> None:
    lesson.do(join_twelve)
    one, other = opened(context, lesson.host), opened(context, lesson.host)
    one.bring_to_front()
    one.locator("[id^=person-more-] summary").first.click()
    name = one.locator("[id^=person-more-] [name=pseudonym]").first
    name.fill("Capivara sáb")
    one.locator("#new-prompt").press_sequentially("Diga bem rápido: uma co")
    other.get_by_test_id("next-phase").click()
    expect_phase(one, "human-answers")
    expect(one.locator("#new-prompt")).to_have_value("Diga bem rápido: uma co")
    expect(one.locator("#new-prompt")).to_be_focused()
    expect(name).to_be_visible()
    expect(name).to_have_value("Capivara sáb")
    one.keyboard.type("r N")  # no shortcut while one writes
    expect(one.locator("#new-prompt")).to_have_value("Diga bem rápido: uma cor N")
    expect_phase(one, "human-answers")
    one.locator("#add-prompt-button").click()
    expect(one.locator("#new-prompt")).to_have_value("")
    expect(one.locator("#add-prompt-button")).to_be_focused()


def test_a_double_click_is_one_step_and_n_is_the_next(
    context: BrowserContext, lesson: Lesson
) -> None:
    page = opened(context, lesson.host)
    page.get_by_test_id("next-phase").dblclick()
    expect_phase(page, "human-answers")
    page.wait_for_timeout(500)
    expect_phase(page, "human-answers")
    page.locator("body").press("n")
    expect_phase(page, "answers")


def test_a_refused_question_is_told_and_stays_in_the_box(
    context: BrowserContext, lesson: Lesson
) -> None:
    page = opened(context, lesson.host)
    page.locator("#new-prompt").fill("a" * 501)
    page.locator("#add-prompt-button").click()
    expect(page.locator("#notice")).to_contain_text("501 caracteres")
    expect(page.locator("#new-prompt")).to_have_value("a" * 501)


def test_the_host_needs_no_script(browser: Browser, lesson: Lesson) -> None:
    context = browser.new_context(java_script_enabled=False, locale="pt-BR")
    page = context.new_page()
    page.goto(lesson.host)
    page.get_by_test_id("prompt").nth(1).click()
    page.get_by_test_id("next-phase").click()
    expect_phase(page, "human-answers")
    page.get_by_test_id("next-phase").click()
    expect_phase(page, "answers")
    context.close()


def test_a_window_that_cannot_follow_says_so_and_tries_again(
    context: BrowserContext, lesson: Lesson
) -> None:
    for address in (lesson.host, lesson.projector):
        page = context.new_page()
        page.route("**/stream", lambda route: route.abort(), times=1)
        page.goto(address)
        lost = page.locator("[data-reconnecting]")
        expect(lost).to_be_visible()
        expect(lost).to_be_hidden(timeout=FOLLOWS_MS)
        expect(page.locator("#notice")).to_be_empty()
        page.close()


def test_an_erased_room_says_so_in_every_window(context: BrowserContext, lesson: Lesson) -> None:
    page, projector = opened(context, lesson.host), opened(context, lesson.projector)
    page.bring_to_front()
    page.get_by_test_id("erase-room").click()
    page.get_by_test_id("erase-confirm").click()
    projector.bring_to_front()
    expect(projector.locator("#stage")).to_contain_text("foi apagada", timeout=FOLLOWS_MS)


def test_the_keys_of_the_projector(context: BrowserContext, lesson: Lesson) -> None:
    play(context, lesson, "reveal")
    page = opened(context, lesson.projector)
    root = page.locator("html")
    for key, part in (("2", "Polegares"), ("3", "Escolhas"), ("4", "Turma × base × fine-tuned")):
        page.keyboard.press(key)
        shown = page.locator(".results__view:visible")
        expect(shown).to_have_count(1)
        expect(shown).to_have_attribute("aria-label", part)
        expect(page.locator(".tabs__tab[aria-pressed=true]")).to_contain_text(part)
    page.keyboard.press("5")  # there was no second vote
    expect(page.locator(".results__view:visible")).to_have_count(1)
    page.keyboard.press("r")
    expect(page.locator(".tabs")).to_be_hidden()
    page.keyboard.press("r")
    page.keyboard.press("t")
    expect(root).to_have_attribute("data-theme", "dark")
    page.keyboard.press("h")
    expect(page.locator(".curtain")).to_be_visible()
    page.keyboard.press("h")
    page.evaluate(
        "() => { document.documentElement.requestFullscreen = async () => { window.isFull = true } }"
    )
    page.keyboard.press("f")
    page.wait_for_function("window.isFull")
    for key, dialog in (("q", "#big-qr"), ("?", "#help"), ("s", "#summary")):
        page.keyboard.press(key)
        expect(page.locator(dialog)).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator(dialog)).to_be_hidden()


ALONE = "Abra a página do professor neste mesmo navegador para avançar daqui."


def test_the_projector_asks_the_host_beside_it_for_the_next_step(
    context: BrowserContext, lesson: Lesson
) -> None:
    opened(context, lesson.host)
    second = opened(context, lesson.host)  # one of two windows takes the step, and none complains
    page = opened(context, lesson.projector)
    other_room = lesson.db.write_now(rooms.create)[1]
    elsewhere = opened(context, f"{lesson.url}/host/{other_room.host}")
    page.bring_to_front()
    page.keyboard.press("q")
    page.keyboard.press("n")
    expect_phase(page, "human-answers")
    expect(page.locator("#big-qr")).to_be_hidden()
    for _ in range(2):  # in a hurry: the second is for a phase that is over
        page.keyboard.press("PageDown")
    expect_phase(page, "answers")
    expect(second.locator("#step-voting")).to_be_visible(timeout=3 * FOLLOWS_MS)
    for key, phase in (("ArrowRight", "voting"), ("PageDown", "closed"), ("n", "reveal")):
        page.keyboard.press(key)
        expect_phase(page, phase)
    for key, part in (("PageDown", "2"), ("PageUp", "1"), ("PageUp", "1"), ("PageDown", "2")):
        page.keyboard.press(key)
        expect(page.locator("html")).to_have_attribute("data-part", part)
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    expect_phase(page, "reveal")
    page.keyboard.press("ArrowRight")  # after the last part
    expect_phase(page, "lobby")
    for window in (page, second):
        expect(window.locator("#notice")).to_be_empty()
    expect_phase(elsewhere, "lobby")


def test_where_no_host_is_beside_it_the_projector_says_so_and_moves_nothing(
    browser: Browser, context: BrowserContext, lesson: Lesson
) -> None:
    host = opened(context, lesson.host)
    other = browser.new_context(locale="pt-BR")
    page = opened(other, lesson.projector)
    for key in ("n", "ArrowRight", "PageDown"):
        page.keyboard.press(key)
        expect(page.locator("#notice")).to_have_text(ALONE)
        page.locator("#notice").click()
        expect(page.locator("#notice")).to_be_empty()
    expect_phase(page, "lobby")
    expect_phase(host, "lobby")
    other.close()


def test_the_projector_says_where_the_host_has_no_next_step(
    context: BrowserContext, lesson: Lesson
) -> None:
    host = opened(context, lesson.host)
    page = opened(context, lesson.projector)
    host.locator("[name=n_samples]").fill("201")  # the form would refuse it
    page.bring_to_front()
    page.keyboard.press("n")
    expect(page.locator("#notice")).to_contain_text("Agora não dá para avançar")
    expect_phase(page, "lobby")


def test_who_double_clicks_on_a_slow_line_has_one_room_more(
    context: BrowserContext, lesson: Lesson, slow_line: Callable[[Page], None]
) -> None:
    before = len(rows(lesson.db, Room))
    link = lesson.db.write_now(lambda session: teachers.open_session(session))
    page = opened(context, f"{lesson.url}/teacher/enter/{link}")
    slow_line(page)
    create = page.get_by_test_id("create-room")
    create.evaluate("button => { button.click(); setTimeout(() => button.click(), 250) }")
    page.wait_for_url("**/host/**")
    assert len(rows(lesson.db, Room)) == before + 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_teachers_pages_and_the_sheets_have_no_accessibility_fault(
    browser: Browser,
    lesson: Lesson,
    faults: Callable[[Page], list[str]],
    scheme: str,
) -> None:
    context = browser.new_context(
        color_scheme=scheme,  # type: ignore[arg-type]
        locale="pt-BR",
        viewport={"width": 360, "height": 740},
    )
    page = opened(context, f"{lesson.url}/teacher")
    assert faults(page) == []
    link = lesson.db.write_now(lambda session: teachers.open_session(session))
    page.goto(f"{lesson.url}/teacher/enter/{link}")
    expect(page.get_by_test_id("room").first).to_be_visible()
    assert faults(page) == []
    page.goto(f"{lesson.host}/erase")
    assert faults(page) == []
    page.goto(lesson.projector)
    for key in ("q", "?"):
        page.keyboard.press(key)
        assert faults(page) == []
        page.keyboard.press("Escape")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    context.close()


def play(
    context: BrowserContext,
    lesson: Lesson,
    until: str,
    look: Callable[[], None] = lambda: None,
    **checks: bool,
) -> None:
    """A round of the second prompt, up to a phase; `look` is called in each."""
    page = opened(context, lesson.host)
    lesson.do(join_twelve)
    page.reload()
    look()
    page.get_by_test_id("prompt").nth(1).click()
    page.locator("[name=n_samples]").fill("8")
    for name, is_on in checks.items():
        page.locator(f"[name={name}]").set_checked(is_on)
    phases = ["human-answers", "answers", "voting", "closed", "reveal"]
    if checks.get("has_second_vote"):
        phases += ["second-vote", "reveal", "lobby"]
    work = {"human-answers": say_words, "voting": vote, "second-vote": vote}
    for phase in phases:
        button = page.get_by_test_id("next-phase")
        expect(button).to_be_visible(timeout=3 * FOLLOWS_MS)
        button.click()
        expect_phase(page, phase)
        if phase in work:
            lesson.do(work[phase])
        look()
        if phase == until:
            break
    page.close()


@pytest.mark.parametrize(
    ("size", "scheme"), [("laptop", "light"), ("phone", "dark"), ("4:3", "light"), ("4k", "dark")]
)
def test_in_every_phase_it_fits_and_has_no_accessibility_fault(
    browser: Browser,
    context: BrowserContext,
    lesson: Lesson,
    faults: Callable[[Page], list[str]],
    size: str,
    scheme: str,
) -> None:
    """The host on a laptop and a phone, the projector from the oldest to the newest."""
    is_host = size in ("laptop", "phone")
    width, height = SIZES[size]
    window = browser.new_context(
        color_scheme=scheme,  # type: ignore[arg-type]
        locale="pt-BR",
        viewport={"width": width, "height": height},
    )
    page = opened(window, lesson.host if is_host else lesson.projector)

    def look() -> None:
        page.reload()
        assert faults(page) == []
        if is_host:
            for summary in page.locator("summary:visible").all()[:4]:
                summary.click()
        over_x, over_y = page.evaluate(
            "[document.documentElement.scrollWidth - innerWidth,"
            " document.documentElement.scrollHeight - innerHeight]"
        )
        assert over_x <= 0
        assert is_host or over_y <= 0
        for key in "" if is_host else "2345":
            page.keyboard.press(key)
            assert faults(page) == []
            hidden = page.evaluate(
                "(s => s.scrollHeight - s.clientHeight)(document.getElementById('stage'))"
            )
            assert hidden <= 1, f"part {key} is cut off"

    play(context, lesson, "lobby", look, has_second_vote=True)
    window.close()
