"""Take the pictures of the teacher's guide: `python docs/make_screenshots.py`. Plays a class of twelve on the embedded pair."""

import random
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

IMAGES = Path(__file__).resolve().parent / "img"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
N_STUDENTS = 12
PHONE = {"width": 390, "height": 844}


def main() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [
            str(Path(sys.executable).with_name("dois-treinos")),
            "serve",
            "--port",
            str(port),
        ]
        server = subprocess.Popen(  # noqa: S603
            command,
            env={
                "DATABASE_URL": f"sqlite:///{folder}/shots.db",
                "PUBLIC_URL": "http://192.168.0.10:8000",
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout
        link = next(m[0] for line in server.stdout if (m := re.search(r"/teacher/enter/\S+", line)))
        try:
            play(f"http://127.0.0.1:{port}", link)
        finally:
            server.terminate()
            server.wait()


def play(url: str, link: str) -> None:
    rng = random.Random(3)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)

        def window(width: int, height: int) -> Page:
            size = {"width": width, "height": height}
            context = browser.new_context(locale="pt-BR", viewport=size, color_scheme="light")  # type: ignore[arg-type]
            return context.new_page()

        host = window(1366, 900)
        host.goto(url + link)
        host.get_by_test_id("create-room").click()
        code = host.get_by_test_id("room-code").first.inner_text()
        projector = window(1280, 800)
        projector.goto(url + (host.get_by_test_id("projector-link").get_attribute("href") or ""))
        shot(host, "guia-host-lobby")
        phones = [window(PHONE["width"], PHONE["height"]) for _ in range(N_STUDENTS)]
        for phone in phones:
            phone.goto(f"{url}/s/{code}")
            if phone is phones[0]:
                shot(phone, "guia-aluno-entrar")
            phone.get_by_test_id("join").click()
        expect(projector.get_by_test_id("n-present").first).to_have_text(
            str(N_STUDENTS), timeout=20_000
        )
        shot(projector, "guia-telao-lobby")
        host.get_by_test_id("prompt").filter(has_text="um número de 1 a 100").locator(
            "input"
        ).check()
        host.get_by_test_id("next-phase").first.click()
        for phone in phones:
            answer = phone.get_by_test_id("human-answer")
            answer.fill(str(rng.choice((7, 37, 42, 73, 17, 3, 69, 88, 21))))
            answer.press("Enter")
            expect(phone.locator("#answer-saved")).to_contain_text("Guardada")
        shot(phones[0], "guia-aluno-resposta")
        host.get_by_test_id("next-phase").first.click()
        voting = host.locator("#step-voting button")
        expect(voting).to_be_visible(timeout=60_000)
        voting.click()
        for i, phone in enumerate(phones):
            for pane in phone.get_by_test_id("answer").all():
                is_number = re.fullmatch(
                    r"\D{0,40}\d{1,3}\D{0,3}", pane.locator("[id^=text-]").inner_text()
                )
                pane.get_by_test_id("thumb-up" if is_number else "thumb-down").click()
            if i % 3:
                phone.locator("[data-testid=prefer]").nth(i % 4).click()
                phone.get_by_test_id("guess").nth(i % 2).click()
        expect(projector.get_by_test_id("n-voted")).to_contain_text(str(N_STUDENTS), timeout=20_000)
        shot(phones[1], "guia-aluno-votacao", full_page=True)
        shot(projector, "guia-telao-votacao")
        host.get_by_test_id("next-phase").first.click()
        expect(host.get_by_test_id("phase")).to_have_attribute("data-phase", "closed")
        host.get_by_test_id("next-phase").first.click()
        expect(projector.get_by_test_id("phase")).to_have_attribute("data-phase", "reveal")
        expect(projector.get_by_test_id("result-row").first).to_be_visible()
        shot(projector, "guia-telao-revelacao")
        shot(phones[1], "guia-aluno-revelacao")
        report = window(900, 1200)
        report.goto(f"{host.url}/report")
        shot(report, "guia-relatorio")
        browser.close()


def shot(page: Page, name: str, *, full_page: bool = False) -> None:
    page.wait_for_timeout(1500)
    page.screenshot(path=IMAGES / f"{name}.png", full_page=full_page)


if __name__ == "__main__":
    main()
