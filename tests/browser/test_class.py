"""A whole class: one host, one projector, three phones, from the QR address to the report; then every window reloaded."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from support import rows

from app.db import Database
from app.services import teachers
from app.tables import Exposure, HumanAnswer, Participant, Room, VoteEvent

pytestmark = pytest.mark.browser
PHONE = {"width": 360, "height": 740}
LAPTOP = {"width": 1366, "height": 768}
SCREEN = {"width": 1024, "height": 768}
FOLLOWS_MS = 8000  # a busy machine, three phones, a projector and a host in one browser


@dataclass
class Class:
    """All windows of one class."""

    url: str
    host: Page
    projector: Page
    phones: list[Page]
    contexts: list[BrowserContext] = field(default_factory=list)

    @property
    def windows(self) -> list[Page]:
        return [self.host, self.projector, *self.phones]

    def expect_phase(self, phase: str) -> None:
        for window in self.windows:
            expect(window.get_by_test_id("phase")).to_have_attribute(
                "data-phase", phase, timeout=FOLLOWS_MS
            )

    def next(self, phase: str) -> None:
        button = self.host.get_by_test_id("next-phase").first
        expect(button).to_be_enabled(timeout=15_000)
        button.click()
        self.expect_phase(phase)

    def start(self, prompt: str, **checks: bool) -> None:
        """A round on one of the deck's prompts; the options as they are said."""
        self.host.get_by_test_id("prompt").filter(has_text=prompt).locator("input").check()
        for name, is_on in checks.items():
            self.host.locator(f"[name={name}]").set_checked(is_on)
        self.host.locator("[name=n_samples]").fill("12")
        self.host.get_by_test_id("next-phase").first.click()

    def wait_for_answers(self) -> None:
        """Until both are in view, and the host may open the vote."""
        expect(self.host.get_by_test_id("phase")).to_have_attribute(
            "data-phase", "answers", timeout=FOLLOWS_MS
        )
        button = self.host.locator("#step-voting button")
        expect(button).to_be_visible(timeout=30_000)

    def close(self) -> None:
        for context in self.contexts:
            context.close()


def window(browser: Browser, room: Class | None, size: dict[str, int], **options: str) -> Page:
    context = browser.new_context(locale="pt-BR", viewport=size, **options)  # type: ignore[arg-type]
    page = context.new_page()
    page.on("pageerror", lambda error: pytest.fail(f"a page's script failed: {error}"))
    if room:
        room.contexts.append(context)
    return page


@pytest.fixture
def room(browser: Browser, url: str, db: Database) -> Iterator[Class]:
    """A teacher signs in by the printed link, creates a room and opens the projector; three phones join."""
    host = window(browser, None, LAPTOP)
    link = db.write_now(lambda session: teachers.open_session(session))
    host.goto(f"{url}/teacher/enter/{link}")
    host.get_by_test_id("create-room").click()
    expect(host.get_by_test_id("phase")).to_have_attribute("data-phase", "lobby")
    with host.context.expect_page() as opened:
        host.get_by_test_id("projector-link").click()
    projector = opened.value
    projector.set_viewport_size(SCREEN)  # type: ignore[arg-type]
    found = Class(url, host, projector, [], [host.context])
    address = host.get_by_test_id("join-url").get_attribute("href") or ""
    for _ in range(3):
        phone = window(browser, found, PHONE, color_scheme="dark")
        phone.goto(url + urlsplit(address).path)
        phone.get_by_test_id("join").click()
        found.phones.append(phone)
    found.expect_phase("lobby")
    yield found
    found.close()


def text_of(page: Page) -> str:
    return page.content().lower()


def test_a_whole_class_from_the_qr_address_to_the_report(
    room: Class, db: Database, faults: Callable[[Page], list[str]]
) -> None:
    host, projector, phones = room.host, room.projector, room.phones
    code = host.get_by_test_id("room-code").first.inner_text()
    here = next(r for r in rows(db, Room) if r.code == code)
    for page in (host, projector):
        expect(page.get_by_test_id("n-present").first).to_have_text("3", timeout=FOLLOWS_MS)

    room.start("um número de 1 a 100", has_second_vote=True)
    room.expect_phase("human-answers")
    for phone, said in zip(phones, ("37", "trinta e sete", "8"), strict=True):
        phone.get_by_test_id("human-answer").fill(said)
        phone.get_by_test_id("human-answer").press("Enter")
        expect(phone.locator("#answer-saved")).to_contain_text(said)
    expect(projector.get_by_test_id("n-answered")).to_contain_text("3", timeout=FOLLOWS_MS)
    people = [p.id for p in rows(db, Participant) if p.room_id == here.id]
    assert sorted(a.text for a in rows(db, HumanAnswer) if a.participant_id in people) == [
        "37",
        "8",
        "trinta e sete",
    ]

    host.get_by_test_id("next-phase").first.click()
    room.wait_for_answers()
    room.next("voting")
    for phone in phones:
        assert not re.search(r"fine-tuned|\btuned\b|data-role", text_of(phone))
    for phone in phones:
        answers = phone.get_by_test_id("answer")
        up = answers.first.get_by_test_id("thumb-up")
        up.click()
        expect(up).to_have_attribute("aria-pressed", "true")
        expect(up).to_be_focused()
        down = answers.last.get_by_test_id("thumb-down")
        down.click()
        expect(down).to_have_attribute("aria-pressed", "true")
        left = phone.locator("[data-testid=prefer][data-value=left]")
        left.click()
        expect(left).to_have_attribute("aria-pressed", "true")
    both_bad = phones[0].locator("[data-testid=prefer][data-value=both-bad]")
    both_bad.click()
    expect(both_bad).to_have_attribute("aria-pressed", "true")
    phones[1].get_by_test_id("guess").first.click()
    expect(projector.get_by_test_id("n-voted")).to_contain_text("3", timeout=FOLLOWS_MS)
    assert projector.get_by_test_id("result-row").count() == 0
    assert faults(phones[0]) == []

    room.next("closed")
    assert phones[0].get_by_test_id("thumb-up").count() == 0
    assert not re.search(r"fine-tuned", text_of(projector))
    exposures = [e for e in rows(db, Exposure) if e.participant_id in people]
    assert len(exposures) == 3
    lefts = [e.left_id for e in exposures]
    assert len(set(lefts)) == 2  # both ways, and so 1 and 2
    shown = {e.id for e in exposures}
    assert len([e for e in rows(db, VoteEvent) if e.exposure_id in shown]) >= 11

    room.next("reveal")
    for name in ("base", "tuned"):
        row = projector.locator(f"[data-testid=result-row][data-checkpoint={name}]").first
        expect(row).to_be_visible(timeout=FOLLOWS_MS)
    for phone in phones:
        expect(phone.get_by_test_id("phase")).to_contain_text("Fine-tuned")
    for page in (host, projector, phones[0]):
        assert faults(page) == []

    room.next("second-vote")
    second = phones[2].get_by_test_id("answer").first.get_by_test_id("thumb-down")
    second.click()
    expect(second).to_have_attribute("aria-pressed", "true")
    room.next("reveal")
    room.next("lobby")

    report = host.context.new_page()
    report.goto(f"{host.url.rstrip('/')}/report")
    expect(report.locator("body")).to_contain_text("um número de 1 a 100")
    assert not [
        p.pseudonym
        for p in rows(db, Participant)
        if p.id in people and p.pseudonym in report.content()
    ]
    assert faults(report) == []


def test_every_window_reloaded_in_every_phase_shows_the_same(room: Class) -> None:
    def reload_all(phase: str) -> None:
        for page in room.windows:
            page.reload()
        room.expect_phase(phase)

    reload_all("lobby")
    room.start("uma fruta e de uma ferramenta", has_second_vote=True)
    room.expect_phase("human-answers")
    room.phones[0].get_by_test_id("human-answer").fill("maçã e martelo")
    room.phones[0].get_by_test_id("human-answer").press("Enter")
    expect(room.phones[0].locator("#answer-saved")).to_contain_text("maçã")
    reload_all("human-answers")
    expect(room.phones[0].get_by_test_id("human-answer")).to_have_value("maçã e martelo")
    room.host.get_by_test_id("next-phase").first.click()
    room.expect_phase("answers")
    reload_all("answers")
    room.wait_for_answers()
    room.next("voting")
    phone = room.phones[0]
    texts = [a.locator("[id^=text-]").inner_text() for a in phone.get_by_test_id("answer").all()]
    phone.get_by_test_id("thumb-up").first.click()
    expect(phone.get_by_test_id("thumb-up").first).to_have_attribute("aria-pressed", "true")
    reload_all("voting")
    expect(phone.get_by_test_id("thumb-up").first).to_have_attribute("aria-pressed", "true")
    assert texts == [
        a.locator("[id^=text-]").inner_text() for a in phone.get_by_test_id("answer").all()
    ]
    for phase in ("closed", "reveal", "second-vote", "reveal", "lobby"):
        room.next(phase)
        reload_all(phase)
