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
{% from "charts/_guess.html" import guess_words %}
{% from "charts/_preferences.html" import preference_chart %}
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


def a_round(
    session: Session, n: int, kind: AnswerKind = AnswerKind.NUMBER, code: str = "TUCAN2"
) -> RoundResults:
    """n people: four of five for the fine-tuned, then one more after the reveal."""
    room = Classroom(session, code)
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
    assert html.count("<table") == len(drawings) + bool(n)  # and one of the guesses
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
    assert "Quem ficou à esquerda ganhou 10 de 20: 50%." in text
    assert "Descontado quem estava lá, o lado não parece ter pesado." in text
    assert "Fine-tuned, quando estava à direita</th><td>8 de 10: 80% (49% a 94%)" in text
    # by hand: ln(8.5 / 2.5), and 1.96 / 2 times the root of 2 / 8.5 + 2 / 2.5
    assert "Peso do lado esquerdo, em log-chances (0: nenhum)</th><td>0 (-1 a 1)" in text
    assert "Peso do fine-tuned, em log-chances (0: nenhum)</th><td>1,22 (0,23 a 2,22)" in text
    assert "acertou 20 de 20" in text
    assert "Índice de cegueira: 1 (0 é cara ou coroa, 1 é todos sabiam)." in text
    assert "Quase todos sabiam" in text
    assert "3 pessoas trocaram de preferência." in text
    assert "Passaram ao fine-tuned: 3; saíram dele: 0." in text
    assert "a chance de tanto desequilíbrio seria 250 em 1.000." in text  # McNemar, 3 against 0
    assert "É mais do que o acaso" not in text
    assert "20 diferentes em 20; dado honesto: 18" in text


def guessed(session: Session, n_wrong: int) -> RoundResults:
    """Twelve who knew the base and chose the fine-tuned, and some who were wrong and chose the base."""
    room = Classroom(session)
    round_ = room.round()
    for i, person in enumerate(room.people(12 + n_wrong)):
        exposure = room.show(round_, person, Side.LEFT)
        room.prefer(exposure, Choice.LEFT if i < 12 else Choice.RIGHT)
        room.guess(exposure, Side.RIGHT if i < 12 else Side.LEFT)
    return round_results(session, round_.id)


def test_who_saw_through_the_blinding_is_told_apart(db: Database) -> None:
    html = draw(ALL, db.write_now(lambda s: guessed(s, 4)))
    text = re.sub(r"\s+", " ", html)
    split = "Escolheram o fine-tuned 12 de 12 dos que acertaram e 0 de 4 dos que erraram."
    assert split in text
    assert "(chance de tanta diferença por acaso: menos de 1 em 1.000)" in text  # 1 of 1820 ways
    assert '<th scope="row">errado</th><td>4</td><td>0</td><td>0</td><td>0</td>' in text


def test_two_who_were_wrong_may_be_chance_and_one_is_no_group(db: Database) -> None:
    def work(session: Session, code: str, n_wrong: int) -> RoundResults:
        room = Classroom(session, code)
        round_ = room.round()
        for i, person in enumerate(room.people(12)):
            exposure = room.show(round_, person, Side.LEFT)
            room.prefer(exposure, Choice.RIGHT if i < 4 else Choice.LEFT)
            room.guess(exposure, Side.LEFT if i < n_wrong else Side.RIGHT)
        return round_results(session, round_.id)

    two = draw(ALL, db.write_now(lambda s: work(s, "DUAS22", 2)))
    assert "A diferença pode ser acaso (chance: 91 em 1.000)." in two  # 6 of 66 pairs
    assert "dos que acertaram" in two
    assert "dos que acertaram" not in draw(ALL, db.write_now(lambda s: work(s, "UMA222", 1)))
    everybody = draw(ALL, db.write_now(lambda s: a_round(s, 20, code="TODAS2")))
    assert "dos que acertaram" not in everybody


def test_what_one_student_wrote_is_shut_away_and_never_in_the_report(db: Database) -> None:
    def work(session: Session) -> RoundResults:
        room = Classroom(session)
        round_ = room.round(room.prompt("Uma fruta?", AnswerKind.WORDS))
        answers = ["uva", "Uva", "<i>caju</i>", "figo", "jaca"]
        for person, text in zip(room.people(5), answers, strict=True):
            room.answer(round_, person, text)
        room.samples(round_, Role.TUNED, ["jaca"] * 30)
        return round_results(session, round_.id)

    found = db.write_now(work)
    importing = '{% from "charts/_picture.html" import picture_chart %}'
    shown = draw(importing + '{{ picture_chart(r.picture, "p", true) }}', found)
    before, after = shown.split("<details", 1)
    assert "caju" not in before
    assert "figo" not in before
    assert "Mostrar 2 respostas que só uma pessoa deu" in after
    assert "<bdi>figo</bdi>" in after
    assert "<i>" not in shown
    assert "Turma: 5 pessoas. Cada modelo: 30 respostas sorteadas, uma a uma." in shown
    assert re.search(r">4/5</text>", shown)  # different, of the class
    hidden = draw(importing + '{{ picture_chart(r.picture, "p") }}', found)
    assert "figo" not in hidden
    assert "2 respostas da turma vieram de uma pessoa só" in hidden


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
