"""What the QR code leads to: a phone must never be sent to itself."""

import re

import pytest
import segno

from app.addresses import (
    EVERY_ADDRESS,
    for_phones,
    is_for_this_machine,
    qr_svg,
    qr_terminal,
    reachable_at,
)
from app.cli import print_addresses
from app.config import Settings
from app.db import Database
from app.services import teachers

EVERY = EVERY_ADDRESS[0]


@pytest.mark.parametrize(
    ("page", "listens_on", "public", "wanted"),
    [
        ("http://turma.test/host/x", "127.0.0.1", "", "http://turma.test"),
        ("http://192.168.0.7:8000/host/x", EVERY, "", "http://192.168.0.7:8000"),
        ("http://127.0.0.1:8000/host/x", "127.0.0.1", "", "http://127.0.0.1:8000"),
        ("http://[fe80::1]:8000/host/x", "::", "", "http://[fe80::1]:8000"),
        ("http://127.0.0.1/host/x", EVERY, "https://aula.test/", "https://aula.test"),
    ],
)
def test_phones_are_sent_where_they_can_go(
    page: str, listens_on: str, public: str, wanted: str
) -> None:
    assert for_phones(page, listens_on, public) == wanted


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_at_the_server_itself_the_rooms_network_is_meant(host: str) -> None:
    found = for_phones(f"http://{host}:8123/host/x", EVERY, "")
    assert found == f"http://{reachable_at(EVERY)[-1]}:8123"


def test_a_server_for_one_machine_is_known_as_such() -> None:
    assert is_for_this_machine("http://127.0.0.1:8000")
    assert is_for_this_machine("http://[::1]:8000")
    assert not is_for_this_machine("http://192.168.0.7:8000")
    assert not is_for_this_machine("http://turma.test")


def test_the_codes_are_those_of_segno_and_need_no_style() -> None:
    address = "http://192.168.0.7:8000/s/ABC234"
    svg = qr_svg(address)
    assert "viewBox" in svg
    assert "style=" not in svg
    drawn = qr_terminal(address).splitlines()
    dots = list(segno.make(address, error="l", micro=False).matrix_iter(border=4))
    for y, row in enumerate(dots):
        for x, is_dark in enumerate(row):
            is_light = drawn[y // 2][x] in ("█", "▀" if y % 2 == 0 else "▄")
            assert is_light != bool(is_dark)


def test_a_start_prints_a_link_that_signs_in(
    db: Database, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    print_addresses(settings.model_copy(update={"host": "127.0.0.1"}), 8000)
    printed = capsys.readouterr().out
    match = re.search(r"http://127\.0\.0\.1:8000/teacher/enter/([\w-]+)", printed)
    assert match
    assert db.read_now(lambda session: teachers.is_signed_in(session, match[1]))
    assert "█" not in printed  # no phone reaches this machine
    public = settings.model_copy(update={"host": "127.0.0.1", "public_url": "https://aula.test"})
    print_addresses(public, 8000)
    assert "Para os celulares da turma: https://aula.test" in capsys.readouterr().out
