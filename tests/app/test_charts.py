"""Every chart, drawn from rows: what it says in words, and that a phone, a printer and a policy can take it."""

import re
from xml.etree import ElementTree

import pytest
from classroom import Classroom
from sqlalchemy.orm import Session

from app.db import Database
from app.render import environment
from app.services.room_results import RoundResults, round_results
from app.tables import AnswerKind, Choice, Role, Side

ALL = """
{% from "charts/_thumbs.html" import thumbs_chart %}
{% from "charts/_picture.html" import picture_chart %}
{% from "charts/_preferences.html" import guess_words, preference_chart %}
{% from "charts/_shift.html" import shift_chart %}
{% from "charts/_totals.html" import totals_chart %}
<main>
  {{ thumbs_chart(r.first.up, "thumbs") }}
  {{ picture_chart(r.picture, "picture") }}
  {{ preference_chart(r.first.preferences, "preferences") }}
  {{ guess_words(r.first) }}
  {% if r.shift %}{{ shift_chart(r.shift, "shift") }}{% endif %}
  {{ totals_chart(r.first.totals, "totals") }}
</main>
"""


def draw(template: str, results: RoundResults, locale: str = "pt_BR") -> str:
    return environment(locale).from_string(template).render(r=results)


def a_round(session: Session, n: int, kind: AnswerKind = AnswerKind.NUMBER) -> RoundResults:
    """n people: four of five for the fine-tuned, then one more after the reveal."""
    room = Classroom(session)
    round_ = room.round(room.prompt("Diga", kind))
    for i, person in enumerate(room.people(n)):
        tuned, base = (Side.LEFT, Side.RIGHT) if i % 2 else (Side.RIGHT, Side.LEFT)
        exposure = room.show(round_, person, tuned)
        room.thumb(exposure, tuned, 1 if i % 5 else -1)
        room.thumb(exposure, base, -1)
        room.prefer(exposure, Choice(tuned if i % 5 else base))
        room.prefer(exposure, Choice(tuned if i else base), 2)
        room.guess(exposure, base)
        room.answer(round_, person, str(i + 1) if kind == AnswerKind.NUMBER else "<b>maçã</b>")
    if n:
        room.samples(round_, Role.TUNED, ["37"] * 20)
    return round_results(session, round_.id)


@pytest.mark.parametrize("n", [0, 1, 7, 40])
@pytest.mark.parametrize("kind", [AnswerKind.NUMBER, AnswerKind.WORDS])
def test_every_drawing_has_words_and_a_table_and_no_inline_style(
    db: Database, n: int, kind: AnswerKind
) -> None:
    html = draw(ALL, db.write_now(lambda s: a_round(s, n, kind)))
    drawings = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(drawings) == (5 if n else 3)
    assert html.count("<table") == len(drawings)
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)  # noqa: S314 (our own)
        ids = {element.get("id") for element in root.iter()}
        assert root.get("role") == "img"
        assert set(str(root.get("aria-labelledby")).split()) <= ids
        assert all(element.text for element in root if element.tag in ("title", "desc"))
        for rect in root.iter("rect"):
            assert float(rect.get("width", 0)) >= 0
            assert float(rect.get("height", 0)) >= 0
    all_ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(all_ids) == len(set(all_ids))
    assert "style=" not in html
    assert "<b>" not in html


def test_ten_people_make_a_percentage_and_nine_do_not(db: Database) -> None:
    few = draw(ALL, db.write_now(lambda s: a_round(s, 9)))
    assert "%" not in re.sub(r"<[^>]*>", "", few)
    assert few.count("chart__person--down") >= 9

    def more(session: Session) -> RoundResults:
        room = Classroom(session, "OUTRA2")
        round_ = room.round()
        for i, person in enumerate(room.people(10)):
            room.thumb(room.show(round_, person), Side.LEFT, 1 if i < 7 else -1)
        return round_results(session, round_.id)

    assert "7 de 10: 70% (40% a 89%)" in draw(ALL, db.write_now(more))


def test_side_and_guess_are_told_in_words(db: Database) -> None:
    html = draw(ALL, db.write_now(lambda s: a_round(s, 20)))
    text = re.sub(r"\s+", " ", html)
    assert "Entre quem escolheu uma das duas, o fine-tuned teve 16 de 20: 80%" in text
    assert "Com os dois lados pesando igual: 80%." in text
    assert "Quem ficou à esquerda ganhou 50%." in text
    assert "acertou 20 de 20" in text
    assert "Quase todos sabiam" in text
    assert "3 pessoas trocaram de preferência." in text
    assert "20 diferentes em 20; dado honesto: 18" in text


def test_before_the_reveal_nothing_says_which_answer_is_whose(db: Database) -> None:
    only_totals = '{% from "charts/_totals.html" import totals_chart %}{{ totals_chart(r.first.totals, "x") }}'
    html = draw(only_totals, db.write_now(lambda s: a_round(s, 20)))
    assert "De 40 polegares, 16 para cima" in html
    assert "De 20 escolhas, 20 por uma das duas" in html
    drawn = re.sub(r"<defs>.*?</defs>", "", html, flags=re.DOTALL)
    assert not re.search(r"base|tuned|fine", drawn, re.IGNORECASE)


def test_the_charts_speak_english(db: Database) -> None:
    html = draw(ALL, db.write_now(lambda s: a_round(s, 20)), "en")
    assert "Those who said which was the base were right 20 of 20" in html
    assert "Ver os números" not in html
