"""A student's phone through a whole class: a real browser on a real server; the host's part is played by the services."""

import asyncio
import itertools
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect
from sqlalchemy.orm import Session
from support import by_role, rows, wait_until

from app.config import Settings
from app.db import Database
from app.deps import Services
from app.main import create_app
from app.services import erasure, rooms, rounds
from app.services.rounds import RoundOptions
from app.tables import Exposure, Participant, Phase, Room, VoteEvent
from model.engine import Request
from model.pair import load_pair

pytestmark = pytest.mark.browser

AXE = Path(__file__).resolve().parents[1] / "vendor" / "axe-4.14.1.min.js"
PHONE = {"width": 360, "height": 740}
SMALL = """[...document.querySelectorAll('main button, main a.button, main label, main summary, main input')]
  .filter(e => e.type !== 'hidden' && !e.closest('.tick input, .say__label'))
  .filter(e => e.matches('button, .button, .tick, summary, input[type=text], input:not([type])'))
  .filter(e => { const box = e.getBoundingClientRect(); return box.height > 0 && box.height < 44 })
  .map(e => e.outerHTML)"""


class Host:
    """What the host's page would do, and the server, which can be stopped and started again."""

    def __init__(self, folder: Path, pair_folder: Path) -> None:
        self.address = f"sqlite:///{folder / 'test.db'}"
        self.pair = load_pair(pair_folder / "base", pair_folder / "tuned")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        db = Database(self.address)
        db.upgrade()
        self.room: Room = db.write_now(lambda s: rooms.create(s)[0])
        db.close()
        self.start()

    def start(self) -> None:
        app = create_app(
            Settings(database_url=self.address), Database(self.address), by_role(self.pair)
        )
        config = uvicorn.Config(
            app, port=self.port, log_level="warning", timeout_graceful_shutdown=1
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.02)
        self.services: Services = app.state.services

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(15)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self.services.generation._loop

    def write(self, work: Callable[[Session, Room], Any]) -> Any:
        """In the server's process, so that its pages hear of it."""

        def in_room(session: Session) -> Any:
            return work(session, rooms.by_code(session, self.room.code))

        writing = self.services.db.write(in_room)
        return asyncio.run_coroutine_threadsafe(writing, self.loop).result(20)

    def goes(self, phase: Phase) -> None:
        self.write(lambda s, room: rounds.advance(s, room, room.version, phase))

    def starts(self, **options: Any) -> None:
        def work(session: Session, room: Room) -> None:
            prompt = rooms.prompts(session, room)[2]
            chosen = RoundOptions(n_samples=0, **options)
            rounds.start(session, room, room.version, prompt.id, chosen)

        self.write(work)

    def lets_models_write(self) -> None:
        def current_id(session: Session, room: Room) -> int:
            round_ = rounds.current(session, room)
            assert round_ is not None
            return round_.id

        id_ = self.write(current_id)
        self.loop.call_soon_threadsafe(self.services.room_writer.start, id_)

    def opens_votes(self, page: Page) -> None:
        """A blind round up to its vote."""
        self.starts(asks_people=False)
        self.lets_models_write()
        expect(page.locator("#announce")).to_contain_text("Resposta A pronta", timeout=20_000)
        self.goes(Phase.VOTING)
        expect_phase(page, Phase.VOTING)


@pytest.fixture
def host(tmp_path: Path, pair_folder: Path) -> Iterator[Host]:
    host = Host(tmp_path, pair_folder)
    yield host
    host.stop()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(locale="pt-BR", viewport=PHONE)  # type: ignore[arg-type]
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, host: Host) -> Page:
    """A phone that has joined."""
    return join(context, host)


def join(context: BrowserContext, host: Host) -> Page:
    page = context.new_page()
    page.on("pageerror", lambda error: pytest.fail(f"the page's script failed: {error}"))
    page.goto(f"{host.url}/{host.room.code}")
    page.get_by_test_id("join").click()
    expect_phase(page, Phase.LOBBY)
    return page


def expect_phase(page: Page, phase: str) -> None:
    expect(page.get_by_test_id("phase")).to_have_attribute("data-phase", phase, timeout=10_000)


def is_focused(locator: Locator) -> bool:
    return bool(locator.evaluate("element => element === document.activeElement"))


def press(button: Locator) -> None:
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")


def check_page(page: Page) -> None:
    """Nothing for axe-core to find, nothing over the edge, nothing too small for a thumb."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("() => axe.run(document)")["violations"]
    assert [f"{v['id']}: {v['nodes'][0]['html']}" for v in found] == []
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page.evaluate(SMALL) == []


def test_who_taps_twice_on_a_slow_line_joins_once(
    context: BrowserContext, host: Host, slow_line: Callable[[Page], None]
) -> None:
    page = context.new_page()
    page.goto(f"{host.url}/{host.room.code}")
    slow_line(page)
    door = page.get_by_test_id("join")
    door.evaluate("button => { button.click(); setTimeout(() => button.click(), 250) }")
    expect_phase(page, Phase.LOBBY)
    assert [person.pseudonym for person in rows(host.services.db, Participant)] == ["Tucano 1"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_class_on_a_phone_from_the_door_to_the_last_reveal(
    browser: Browser, host: Host, scheme: str
) -> None:
    context = browser.new_context(color_scheme=scheme, locale="pt-BR", viewport=PHONE)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"{host.url}/join?code=zzz999")
    check_page(page)
    page.get_by_label("Código da sala").fill(host.room.code.lower())
    page.get_by_role("button", name="Entrar").click()
    expect(page.get_by_test_id("join")).to_be_visible()
    check_page(page)
    page.get_by_test_id("join").click()
    expect_phase(page, Phase.LOBBY)
    check_page(page)

    host.starts(has_second_vote=True, countdown_s=300)
    expect_phase(page, Phase.HUMAN)
    page.get_by_test_id("human-answer").fill("37")
    page.keyboard.press("Enter")
    expect(page.locator("#answer-saved")).to_contain_text("37")
    page.get_by_role("button", name="Preciso de mais tempo").click()
    expect(page.get_by_role("timer")).to_have_text(re.compile(r"^9:\d\d$"))
    check_page(page)

    host.goes(Phase.ANSWERS)
    expect_phase(page, Phase.ANSWERS)
    check_page(page)
    host.lets_models_write()
    expect(page.locator("#announce")).to_have_text(
        "Resposta A pronta. Resposta B pronta.", timeout=20_000
    )
    assert page.locator("[aria-live] .pane, [role=status] .pane").count() == 0
    check_page(page)

    host.goes(Phase.VOTING)
    expect_phase(page, Phase.VOTING)
    press(page.get_by_test_id("thumb-up").first)
    page.get_by_label("Óbvia").check()
    press(page.get_by_test_id("thumb-down").last)
    press(page.locator('[data-testid=prefer][data-value="both-bad"]'))
    press(page.locator('[data-testid=guess][data-value="left"]'))
    page.get_by_label("podem treinar").check()
    expect(page.locator("#consent")).to_contain_text("Guardado: podem.")
    check_page(page)

    host.goes(Phase.CLOSED)
    expect_phase(page, Phase.CLOSED)
    expect(page.get_by_text("Você gostou.")).to_be_visible()
    check_page(page)
    host.goes(Phase.REVEAL)
    expect_phase(page, Phase.REVEAL)
    expect(page.get_by_role("heading", name="Fine-tuned")).to_be_visible()
    check_page(page)
    host.goes(Phase.SECOND_VOTE)
    expect_phase(page, Phase.SECOND_VOTE)
    press(page.locator('[data-testid=prefer][data-value="right"]'))
    check_page(page)
    host.goes(Phase.REVEAL)
    expect(page.get_by_text("A turma, com os nomes à vista")).to_be_visible()
    check_page(page)
    host.goes(Phase.LOBBY)
    host.write(lambda s, room: rooms.set_free_play(s, room, True))
    expect(page.get_by_text("Na última rodada")).to_be_visible()
    page.get_by_test_id("prompt-input").fill("O rato roeu")
    page.get_by_test_id("send").click()
    expect(page.locator('#own [data-state="done"]')).to_have_count(2, timeout=20_000)
    page.get_by_role("button", name="Oferecer à turma").click()
    expect(page.locator("#offer")).to_contain_text("Oferecida")
    check_page(page)
    host.write(lambda s, room: rooms.set_removed(s, room, 1, True))
    expect_phase(page, "removed")
    check_page(page)
    host.write(lambda s, room: erasure.erase_room(s, room))
    expect_phase(page, "gone")
    check_page(page)
    context.close()


def test_a_redraw_leaves_the_keyboard_and_half_an_answer_alone(page: Page, host: Host) -> None:
    host.starts()
    box = page.get_by_test_id("human-answer")
    box.click()
    page.keyboard.type("tri")
    host.write(lambda s, room: rooms.rename(s, room, 1, "Capivara"))
    expect(page.locator(".stage__who")).to_contain_text("Capivara")
    page.keyboard.type("nta")
    assert is_focused(box)
    assert box.input_value() == "trinta"


def test_a_redraw_leaves_own_answers_in_mid_stream_alone(page: Page, host: Host) -> None:
    engine = host.services.generation.engine
    add, step, steps = engine.add, engine.step, threading.Semaphore(8)

    def add_long(request: Request) -> int:  # one that does not end after a word or two
        return add(replace(request, params=replace(request.params, ignores_end=True)))

    def step_in_time() -> object:
        steps.acquire(timeout=20)
        return step()

    engine.add = add_long  # type: ignore[method-assign]
    engine.step = step_in_time  # type: ignore[method-assign, assignment]
    host.write(lambda s, room: rooms.set_free_play(s, room, True))
    page.get_by_test_id("prompt-input").fill("O rato roeu")
    page.get_by_test_id("send").click()
    left = page.locator('#own [data-side="left"]')
    expect(left.locator('[id^="text-"]')).to_have_text(re.compile(r"\S{3}"))
    for name in ("Paca", "Curió", "Garça"):
        host.write(lambda s, room, name=name: rooms.rename(s, room, 1, name))  # type: ignore[misc]
        expect(page.locator(".stage__who")).to_contain_text(name)
        steps.release(2)
    assert left.get_attribute("data-state") == "writing"
    steps.release(1000)
    expect(page.locator('#own [data-state="done"]')).to_have_count(2, timeout=20_000)
    shown = left.locator('[id^="text-"]').text_content()
    page.reload()
    assert left.locator('[id^="text-"]').text_content() == shown


def test_the_focus_stays_on_what_was_tapped(page: Page, host: Host) -> None:
    host.opens_votes(page)
    up = page.get_by_test_id("thumb-up").first
    up.focus()
    page.keyboard.press("Enter")
    expect(up).to_have_attribute("aria-pressed", "true")
    assert is_focused(up)
    reason = page.get_by_label("Óbvia").first
    with page.expect_response("**/votes"):
        reason.check()
    assert is_focused(reason)


def test_fast_taps_on_a_slow_line_all_count(
    page: Page, host: Host, slow_line: Callable[[Page], None]
) -> None:
    host.opens_votes(page)
    up, down = page.get_by_test_id("thumb-up").first, page.get_by_test_id("thumb-down").first
    press(up)
    slow_line(page)
    for button in (down, up, down, up):  # four minds in a second
        button.click()
    for choice in ("left", "tie", "left"):
        page.locator(f'[data-testid=prefer][data-value="{choice}"]').click()

    def cast(column: str) -> list[Any]:
        votes = [getattr(vote, column) for vote in rows(host.services.db, VoteEvent)]
        return [value for value in votes if value is not None]

    wait_until(lambda: len(cast("value")) == 5 and len(cast("choice")) == 3)
    assert cast("value") == [1, -1, 1, -1, 1]
    assert cast("choice") == ["left", "tie", "left"]
    expect(down).to_have_attribute("aria-pressed", "false")
    expect(up).to_have_attribute("aria-pressed", "true")
    expect(page.locator('[data-testid=prefer][data-value="left"]')).to_have_attribute(
        "aria-pressed", "true"
    )
    for name in ("Inventou", "Óbvia", "Direta"):
        page.get_by_label(name).first.check()
    page.get_by_label("Óbvia").first.uncheck()
    wait_until(lambda: cast("reasons")[-1:] == [["invented", "direct"]])
    page.reload()
    expect(up).to_have_attribute("aria-pressed", "true")
    ticked = page.locator("#reasons-left-up :checked").evaluate_all("all => all.map(e => e.value)")
    assert ticked == ["invented", "direct"]
    up.click()  # and now that it is seen to be down, it goes
    expect(up).to_have_attribute("aria-pressed", "false")


def test_a_lost_line_is_told_and_found_again_and_no_vote_is_pretended(
    context: BrowserContext, page: Page, host: Host
) -> None:
    host.opens_votes(page)
    connection, notice = page.locator("#connection"), page.locator("#notice")
    context.set_offline(True)
    expect(connection).to_have_text("Reconectando…")
    tie = page.locator('[data-testid=prefer][data-value="tie"]')
    tie.click()
    expect(notice).to_contain_text("Não foi enviado")
    assert tie.get_attribute("aria-pressed") == "false"
    assert tie.get_attribute("aria-busy") is None
    check_page(page)
    context.set_offline(False)
    host.write(lambda s, room: rooms.rename(s, room, 1, "Quati"))
    expect(page.locator(".stage__who")).to_contain_text("Quati", timeout=15_000)
    expect(connection).to_be_empty()
    expect(notice).to_contain_text("Não foi enviado")  # until a tap gets through
    press(tie)
    expect(notice).to_be_empty()


def test_a_server_that_stops_is_waited_for_and_nothing_is_lost(page: Page, host: Host) -> None:
    host.opens_votes(page)
    press(page.get_by_test_id("thumb-up").first)
    host.stop()
    expect(page.locator("#connection")).to_have_text("Reconectando…", timeout=10_000)
    host.start()
    host.goes(Phase.CLOSED)
    expect_phase(page, Phase.CLOSED)
    expect(page.locator("#connection")).to_be_empty()
    expect(page.get_by_text("Você gostou.")).to_be_visible()


def test_a_phone_tries_often_however_long_the_server_is_away(page: Page, host: Host) -> None:
    host.write(lambda s, room: rooms.rename(s, room, 1, "Sagui"))
    expect(page.locator(".stage__who")).to_contain_text("Sagui")  # the stream is there
    tried: list[float] = []
    page.on("request", lambda _: tried.append(time.monotonic()))
    host.stop()
    page.wait_for_timeout(11_000)
    gaps = [after - before for before, after in itertools.pairwise(tried)]
    assert len(gaps) >= 4
    assert max(gaps) < 2.75  # seconds; one that doubles is longer by now


def test_a_phone_that_slept_catches_up(page: Page, host: Host) -> None:
    hide = """hidden => {
      Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});
      document.dispatchEvent(new Event('visibilitychange'));
    }"""
    host.write(lambda s, room: rooms.rename(s, room, 1, "Sagui"))
    expect(page.locator(".stage__who")).to_contain_text("Sagui")  # the stream is there
    page.evaluate(hide, True)
    time.sleep(0.5)
    host.starts()
    time.sleep(1)
    expect(page.get_by_test_id("phase")).to_have_attribute("data-phase", Phase.LOBBY)
    page.evaluate(hide, False)
    expect_phase(page, Phase.HUMAN)


def test_a_tap_in_the_moment_of_closing_is_told_in_place(page: Page, host: Host) -> None:
    host.opens_votes(page)
    page.route("**/stream", lambda route: route.abort())
    page.reload()  # no stream: this phone does not hear of the end
    host.goes(Phase.CLOSED)
    page.get_by_test_id("thumb-up").first.click()
    expect(page.locator("#notice")).to_have_text(
        "A votação já foi encerrada; este toque não contou."
    )
    expect_phase(page, Phase.CLOSED)


def test_without_script_everything_can_be_said(browser: Browser, host: Host, page: Page) -> None:
    plain = browser.new_context(java_script_enabled=False, locale="pt-BR", viewport=PHONE)  # type: ignore[arg-type]
    still = plain.new_page()
    still.goto(f"{host.url}/s/{host.room.code}")
    still.get_by_test_id("join").click()
    host.opens_votes(page)
    still.get_by_role("link", name="Atualizar a página").click()
    still.get_by_test_id("thumb-down").first.click()
    still.get_by_label("Inventou").check()
    still.get_by_role("button", name="Guardar os motivos").click()
    expect(still.get_by_label("Inventou")).to_be_checked()
    still.locator('[data-testid=prefer][data-value="tie"]').click()
    expect(still.locator('[data-testid=prefer][data-value="tie"]')).to_have_attribute(
        "aria-pressed", "true"
    )
    plain.close()
    assert len(rows(Database(host.address), VoteEvent)) == 3


def test_presence_follows_the_open_page(page: Page, host: Host) -> None:
    db = Database(host.address)
    first = rows(db, Participant)[0].last_seen_at
    page.reload()
    deadline = time.monotonic() + 12
    while rows(db, Participant)[0].last_seen_at == first and time.monotonic() < deadline:
        time.sleep(0.2)
    assert rows(db, Participant)[0].last_seen_at > first
    assert not rows(db, Exposure)
    db.close()
