"""The page as a visitor uses it: a real browser, a real server, a real database."""

import re
import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from sqlalchemy import select
from support import rows, wait_until

from app.db import Database
from app.tables import Exposure, Generation, Prompt, VoteEvent, current_vote

pytestmark = pytest.mark.browser


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(locale="pt-BR", viewport={"width": 390, "height": 844})
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    page = context.new_page()
    page.on("pageerror", lambda error: pytest.fail(f"the page's script failed: {error}"))
    return page


LEFT = """() => {
  const pane = document.querySelector('[data-testid=answer][data-side="left"]');
  return [pane?.dataset.state ?? "", pane?.querySelector('[id^="text-"]')?.textContent ?? ""];
}"""


def expect_done(page: Page) -> None:
    expect(page.locator('[data-testid=answer][data-state="done"]')).to_have_count(2, timeout=20_000)


def shown_text(page: Page, side: str) -> str:
    answer = page.locator(f'[data-testid=answer][data-side="{side}"]')
    return answer.locator('[id^="text-"]').text_content() or ""


def as_shown(text: str) -> str:
    """As a browser holds it: every line end is LF (HTML standard, preprocessing the input stream)."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def begins(whole: str, piece: str) -> bool:
    """Whether a text began as it was seen on the way; a CR LF that came in two pieces was two line ends then."""
    one_end = [re.sub(r"[\r\n]+", "\n", text) for text in (whole, piece)]
    return one_end[0].startswith(one_end[1])


def looks(page: Page) -> Iterator[tuple[str, str]]:
    """The left answer's state and text, each pair at one moment and as often as can be, until it is done.

    `expect` looks once a second in the end: too seldom for an answer that is written within one.
    """
    state, deadline = "", time.monotonic() + 30
    while state != "done":
        assert time.monotonic() < deadline, "the answer has no end"
        state, text = page.evaluate(LEFT)
        yield state, text


def mid_stream(page: Page, url: str, ask: Callable[[], None]) -> str:
    """Ask until an answer can be read before its end, and return what was read. A random pair may end at any token."""
    for _ in range(6):
        page.goto(f"{url}/?new=1")
        ask()
        for state, text in looks(page):
            if state == "writing" and len(text.strip()) > 3:
                return text
    pytest.fail("six answers in a row ended with their first letters")


def test_ask_reload_in_mid_stream_vote_and_change_it(page: Page, url: str, db: Database) -> None:
    before = mid_stream(page, url, page.get_by_test_id("prompt-chip").nth(2).click)
    left = page.locator('[data-testid=answer][data-side="left"]')
    page.reload()
    assert begins(shown_text(page, "left"), before)
    expect_done(page)
    assert begins(shown_text(page, "left"), before)

    exposure = rows(db, Exposure)[-1]
    generations = {g.id: g for g in rows(db, Generation)}
    assert rows(db, Prompt)[-1].text == "Diga bem rápido: um número de 1 a 100"
    assert shown_text(page, "left") == as_shown(generations[exposure.left_id].text)
    assert shown_text(page, "right") == as_shown(generations[exposure.right_id].text.lstrip())

    up = left.get_by_test_id("thumb-up")
    down = left.get_by_test_id("thumb-down")
    up.click()
    expect(up).to_have_attribute("aria-pressed", "true")
    down.click()
    expect(down).to_have_attribute("aria-pressed", "true")
    expect(up).to_have_attribute("aria-pressed", "false")
    assert votes(db, exposure) == [("left", 1), ("left", -1)]
    assert current(db, exposure) == {"left": -1}
    page.reload()
    expect(left.get_by_test_id("thumb-down")).to_have_attribute("aria-pressed", "true")


def test_fast_thumbs_on_a_slow_line_all_count(
    page: Page, url: str, db: Database, slow_line: Callable[[Page], None]
) -> None:
    page.goto(url)
    page.get_by_test_id("prompt-chip").first.click()
    expect_done(page)
    left = page.locator('[data-side="left"]')
    up, down = left.get_by_test_id("thumb-up"), left.get_by_test_id("thumb-down")
    slow_line(page)
    for button in (up, down, up, up):  # a finger that trembles takes nothing back
        button.click()
        expect(button).to_have_attribute("aria-busy", "true")
    exposure = rows(db, Exposure)[-1]
    wait_until(lambda: len(votes(db, exposure)) == 4)
    assert votes(db, exposure) == [("left", 1), ("left", -1), ("left", 1), ("left", 1)]
    expect(down).to_have_attribute("aria-pressed", "false")
    expect(up).to_have_attribute("aria-pressed", "true")
    page.reload()
    up.click()  # with nothing on its way, a thumb that is down is taken back
    expect(up).to_have_attribute("aria-pressed", "false")
    expect(up).not_to_have_attribute("aria-busy", "true")
    assert current(db, exposure) == {"left": None}


def test_streamed_text_is_exactly_the_stored_text(page: Page, url: str, db: Database) -> None:
    """Without a reload: what was appended piece by piece is what was saved, spaces and lines too."""
    for _ in range(6):  # a text that ends after a word or two shows nothing of a stream
        page.goto(f"{url}/?new=1")
        page.get_by_test_id("prompt-input").fill("O rato roeu <b>a roupa</b>")
        page.get_by_test_id("send").click()
        pieces = {text for _, text in looks(page)}
        expect_done(page)
        exposure = rows(db, Exposure)[-1]
        saved = next(g.text for g in rows(db, Generation) if g.id == exposure.left_id)
        assert shown_text(page, "left") == as_shown(saved)
        assert [piece for piece in pieces if not begins(saved, piece)] == []
        assert page.locator(".exchange__prompt bdi").text_content() == "O rato roeu <b>a roupa</b>"
        if len(pieces) > 4:
            return
    pytest.fail("six answers in a row came in no more than three pieces")


def test_the_keyboard_alone_is_enough(page: Page, url: str, db: Database) -> None:
    page.goto(url)
    page.get_by_test_id("prompt-input").focus()
    page.keyboard.type("A rainha")
    page.keyboard.press("Enter")
    expect_done(page)
    up = page.locator('[data-side="right"]').get_by_test_id("thumb-up")
    for _ in range(40):
        page.keyboard.press("Tab")
        if up.evaluate("button => button === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect(up).to_have_attribute("aria-pressed", "true")
    assert up.evaluate("button => button === document.activeElement")  # focus stays on the thumb
    page.keyboard.press("Enter")
    expect(up).to_have_attribute("aria-pressed", "false")
    assert current(db, rows(db, Exposure)[-1]) == {"right": None}
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    special = page.locator('[data-side="right"] .token--special .token__text')
    expect(special.first).to_have_text("<|usuario|>")
    expect(special.last).to_be_visible()


def test_a_bad_prompt_is_told_beside_the_box_and_nothing_is_lost(page: Page, url: str) -> None:
    page.goto(url)
    box = page.get_by_test_id("prompt-input")
    box.fill("O rato")
    page.get_by_test_id("send").click()
    expect_done(page)
    box.fill("a" * 501)
    expect(page.locator("#composer-count")).to_have_text("501 / 500")
    page.get_by_test_id("send").click()
    expect(page.locator("#composer-error")).to_contain_text("501 caracteres")
    assert box.input_value() == "a" * 501
    expect_done(page)  # the answers before are still there


def test_on_a_phone_the_box_is_as_high_as_its_text(page: Page, url: str) -> None:
    page.goto(url)
    box = page.get_by_test_id("prompt-input")
    heights = "(box) => [box.clientHeight, box.scrollHeight]"
    one_line = box.evaluate(heights)
    box.fill("Diga bem rápido: o nome de uma fruta e de uma ferramenta?")
    shown, whole = box.evaluate(heights)
    assert shown == whole > one_line[1]


def test_a_reload_after_a_clean_page_finds_the_answers_too(page: Page, url: str) -> None:
    mid_stream(page, url, page.get_by_test_id("prompt-chip").first.click)
    page.reload()
    expect_done(page)
    expect(page.locator(".exchange__prompt bdi")).to_have_text("Quem é a mãe de Anitta?")


def test_a_server_that_is_gone_is_told(context: BrowserContext, page: Page, url: str) -> None:
    page.goto(url)
    page.get_by_test_id("prompt-input").fill("O rato")
    context.set_offline(True)
    page.get_by_test_id("send").click()
    expect(page.locator("#notice")).to_contain_text("O servidor não respondeu")
    context.set_offline(False)
    page.get_by_test_id("send").click()
    expect_done(page)
    expect(page.locator("#notice")).to_be_empty()


def test_without_script_the_page_still_answers(browser: Browser, url: str) -> None:
    context = browser.new_context(java_script_enabled=False, locale="pt-BR")
    page = context.new_page()
    page.goto(url)
    page.get_by_test_id("prompt-chip").first.click(timeout=30_000)
    expect_done(page)
    page.get_by_test_id("thumb-down").first.click()
    expect(page.get_by_test_id("thumb-down").first).to_have_attribute("aria-pressed", "true")
    context.close()


def test_nothing_comes_from_elsewhere(page: Page, url: str) -> None:
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.goto(url)
    page.get_by_test_id("prompt-chip").first.click()
    expect_done(page)
    assert addresses
    assert all(address.startswith(url) for address in addresses)
    assert not messages


def test_english_is_a_choice(page: Page, url: str) -> None:
    page.goto(url)
    page.get_by_role("button", name="English").click()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    expect(page.get_by_text("only read", exact=True)).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_accessibility_fault_is_found(
    browser: Browser, url: str, scheme: str, faults: Callable[[Page], list[str]]
) -> None:
    context = browser.new_context(color_scheme=scheme, locale="pt-BR")  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(url)
    assert faults(page) == []
    page.get_by_test_id("prompt-chip").first.click()
    expect_done(page)
    page.get_by_test_id("thumb-up").first.click()
    expect(page.get_by_test_id("thumb-up").first).to_have_attribute("aria-pressed", "true")
    page.get_by_test_id("thumb-down").last.click()
    expect(page.get_by_test_id("thumb-down").last).to_have_attribute("aria-pressed", "true")
    for summary in page.locator("summary").all():
        summary.click()
    page.get_by_test_id("send").click()
    expect(page.locator("#composer-error")).not_to_be_empty()
    assert faults(page) == []
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1366])
def test_nothing_hangs_over_the_edge(browser: Browser, url: str, scheme: str, width: int) -> None:
    context = browser.new_context(
        color_scheme=scheme,  # type: ignore[arg-type]
        viewport={"width": width, "height": 800},
    )
    page = context.new_page()
    page.goto(url)
    page.get_by_test_id("prompt-input").fill("rato" * 12)
    page.get_by_test_id("send").click()
    expect_done(page)
    for summary in page.locator("summary").all():
        summary.click()
    overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0
    context.close()


def votes(db: Database, exposure: Exposure) -> list[tuple[str, int | None]]:
    return [(e.target, e.value) for e in rows(db, VoteEvent) if e.exposure_id == exposure.id]


def current(db: Database, exposure: Exposure) -> dict[str, int | None]:
    query = select(current_vote.c.target, current_vote.c.value).where(
        current_vote.c.exposure_id == exposure.id
    )
    return db.read_now(lambda s: {t: v for t, v in s.execute(query)})
