"""The question-and-answer set: tables that fill without a gap, noise that keeps the meaning, an evaluation kept apart."""

import json
import random
from functools import cache

import pytest

from model.data_sft import core_rows
from model.data_sft.core_rows import CORE, Written, favour_core, only_core, only_famous
from model.data_sft.held_out import Evaluation, NewFacts, read_items, without_known_templates
from model.data_sft.make_more import EVALUATION, table_rows, typed_copies, without_held_out
from model.data_sft.make_more import row as new_row
from model.data_sft.noise import (
    Noise,
    in_telegrams,
    spoil_question,
    spoil_template,
    without_accents,
)
from model.data_sft.number_rows import NUMBER_ROWS
from model.data_sft.tables import (
    FOLDER,
    Group,
    conversations,
    fill,
    read_groups,
    share_out,
    slot_name,
    slots_of,
)

GROUPS = read_groups()
TABLES = sorted({path.stem for path in FOLDER.glob("*.json")})


def make_group(**changes: object) -> Group:
    values: dict[str, object] = {
        "category": "capitals",
        "name": "example",
        "source": "geral",
        "turns": (("Capital {d}?", "{P}: capital?"), ("{C}.",)),
        "rows": ({"p": "peru", "d": "do Peru", "c": "Lima"}, {"p": "chile", "d": "x", "c": "y"}),
        "fame": (1, 1),
    }
    return Group(**(values | changes))  # type: ignore[arg-type]


@cache
def sample(name: str) -> list[tuple[str, ...]]:
    group = next(g for g in GROUPS if g.name == name)
    return list(conversations(group, 12, "test"))


def test_group_names_are_unique() -> None:
    names = [(group.category, group.name) for group in GROUPS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("table", TABLES)
def test_every_slot_is_in_every_row(table: str) -> None:
    items = json.loads((FOLDER / f"{table}.json").read_text(encoding="utf-8"))
    for group in (g for g in GROUPS if g.name in {item["name"] for item in items}):
        written = slots_of([template for turn in group.turns for template in turn])
        for row in group.rows:
            missing = {name for name in written if slot_name(name, row) not in row}
            assert not missing, (group.name, missing, row)
            assert all(value not in ("", []) for value in row.values()), (group.name, row)


@pytest.mark.parametrize("table", TABLES)
def test_filled_tables_read_as_short_conversations(table: str) -> None:
    items = json.loads((FOLDER / f"{table}.json").read_text(encoding="utf-8"))
    for item in items:
        filled = sample(item["name"])
        assert filled, item["name"]
        for turns in filled:
            assert len(turns) % 2 == 0
            assert all(turn.strip() for turn in turns), (item["name"], turns)
            assert not any(c in turn for turn in turns for c in "{}"), (item["name"], turns)
            for answer in turns[1::2]:
                assert len(answer.split()) <= 30, (item["name"], answer)


def test_the_same_seed_fills_the_same_way_and_another_does_not() -> None:
    group = max(GROUPS, key=lambda g: g.capacity)
    first, again = (list(conversations(group, 50, "a")) for _ in range(2))
    assert first == again
    assert first != list(conversations(group, 50, "b"))


def test_no_conversation_comes_twice_and_rows_share_evenly() -> None:
    rows = tuple({"p": f"p{i}", "d": f"d{i}", "c": f"c{i}"} for i in range(20))
    group = make_group(rows=rows, fame=(1,) * 20, noise=Noise.NONE)
    filled = list(conversations(group, 30, "a"))
    assert len(set(filled)) == len(filled) == 30
    per_row = [sum(turns[1] == f"C{i}." for turns in filled) for i in range(20)]
    assert set(per_row) == {1, 2}


def test_fame_says_how_often_a_row_is_drawn() -> None:
    templates = tuple(f"{i}: {{p}}?" for i in range(100))
    group = make_group(turns=(templates, ("{C}.",)), fame=(4, 1), noise=Noise.NONE)
    answers = [turns[1] for turns in conversations(group, 50, "a")]
    assert 3 < answers.count("Lima.") / answers.count("Y.") < 5


def test_a_row_that_the_written_questions_speak_of_comes_round_more_often() -> None:
    rows = (
        {"p": "Peru", "d": "do Peru", "c": ["Lima", "a cidade de Lima"], "kind": "x"},
        {"p": "Chile", "d": "do Chile", "c": ["Santiago"], "kind": "x"},
        {"p": "Laos", "d": "do Laos", "c": ["Vienciana"], "kind": "x"},
    )
    texts = {"capitals": Written(["A capital do Peru? LIMA.", "O Chile é comprido."])}
    group = make_group(rows=rows, fame=(3, 1, 1))
    other = make_group(category="words", rows=rows, fame=(1, 1, 1))
    favoured, unchanged = favour_core([group, other], texts)
    # one text names Peru and Lima; of Chile a text holds one value only
    assert list(favoured.fame) == [3 * CORE, 1, 1]
    assert unchanged is other


def test_only_the_rows_that_everybody_asks_about_stay_where_there_are_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(core_rows, "ENOUGH", 2)
    countries = (("Peru", "Lima"), ("Chile", "Santiago"), ("Laos", "Vienciana"), ("Omã", "Mascate"))
    rows = tuple({"p": p, "c": c, "kind": "x"} for p, c in countries)
    texts = {"capitals": Written([f"A capital: {c}, {p}." for p, c in countries[:3]])}

    def kept(fame: tuple[float, ...]) -> list[str]:
        (group,) = only_core([make_group(rows=rows, fame=fame)], texts)
        assert len(group.fame) == len(group.rows)
        return [row["p"] for row in group.rows]

    assert kept((3, 3, 1, 3)) == ["Peru", "Chile"]  # asked about, and famous
    assert kept((1, 1, 1, 3)) == ["Peru", "Chile", "Laos"]  # asked about
    monkeypatch.setattr(core_rows, "ENOUGH", 4)
    assert len(kept((3, 3, 1, 3))) == 4  # too few of either: all, and those more often
    (group,) = only_core([make_group(rows=rows, fame=(1, 1, 1, 3))], texts)
    assert list(group.fame) == [CORE, CORE, CORE, 3]


def test_of_sums_the_rows_of_most_fame_stay() -> None:
    group = make_group(fame=(3, 1))
    assert [row["p"] for row in only_famous(group).rows] == ["peru"]
    assert only_famous(make_group()).rows == make_group().rows
    soma = next(g for g in GROUPS if g.name == "soma")
    assert max(row["a"] + row["b"] for row in only_famous(soma).rows) == 20


def test_a_question_in_telegraph_style_loses_small_words_only() -> None:
    rng = random.Random(0)
    question = "Você sabe qual é o nome da capital que não é do Peru?"
    texts = {in_telegrams(question, rng) for _ in range(200)}
    assert len(texts) > 50
    for text in texts:
        assert {"nome", "capital", "não", "Peru?"} <= set(text.split())
        assert set(text.split()) <= {"você", *question.split()}


@pytest.mark.parametrize(
    ("question", "kept"),
    [
        ("Que elemento tem o símbolo Na?", "Na?"),
        ("A, E, I, O, U: escolha uma.", "A, E, I, O, U: escolha uma."),
        ("Quanto é vinte e um mais dois?", "vinte e um mais dois?"),
        ("Qual é o plural de pé-de-moleque?", "pé-de-moleque?"),
        ('O que quer dizer "de"?', 'O que quer dizer "de"?'),
        ("Quem é você?", "você?"),
        ("Qual é?", "Qual é?"),
    ],
)
def test_what_is_asked_about_is_never_left_out(question: str, kept: str) -> None:
    rng = random.Random(0)
    for text in {in_telegrams(question, rng) for _ in range(200)}:
        assert text.casefold().endswith(kept.casefold())
        assert text[0].isalpha()


def test_a_written_conversation_comes_again_as_people_type_it_with_the_same_answer() -> None:
    turns = ("Qual é a capital do Peru?", "Lima.", "Tem certeza?", "Tenho.")
    made = new_row(turns, {"c": "capitals", "source": "x"}, "written")
    copies = list(typed_copies([made], 30, random.Random(0)))
    assert copies[0] == made
    assert len(copies) == 30
    questions = {copy["messages"][0]["content"] for copy in copies}
    assert len(questions) > 5
    assert all("peru" in without_accents(question.casefold()) for question in questions)
    assert all(copy["messages"][1:] == made["messages"][1:] for copy in copies)
    assert made["messages"][0]["content"] == turns[0]
    in_capitals = new_row(("Em maiúsculas: sol.", "SOL."), {"c": "form", "source": "x"})
    assert list(typed_copies([in_capitals], 4, random.Random(0))) == [in_capitals]


def test_a_group_with_nothing_new_left_ends() -> None:
    group = make_group(noise=Noise.NONE)
    assert len(list(conversations(group, 1000, "a"))) == 4


def test_one_value_of_a_list_is_drawn_for_the_whole_conversation() -> None:
    row = {"w": ["Lima", "Roma", "Oslo"], "y1": ["a", "b"], "y2": ["a", "b"]}
    group = make_group(
        turns=(("{w}?",), ("Não, {w} não: {y1}{y2}.",)), rows=(row,), fame=(1,), noise=Noise.NONE
    )
    for question, answer in conversations(group, 6, "a"):
        assert answer.startswith(f"Não, {question[:-1]} não")
        assert answer.endswith(("ab.", "ba."))


def test_capitals_and_braces_are_filled_in() -> None:
    assert fill("{P} é {p}, {{p}}", {"p": "água"}) == "Água é água, {p}"


def test_noise_keeps_the_words_of_slots_and_the_accents_where_they_matter() -> None:
    rng = random.Random(0)
    spoilt = {spoil_template("Você sabe qual é o coletivo de {x}?", rng) for _ in range(50)}
    assert all("{x}" in text for text in spoilt)
    assert "vc sabe qual é o coletivo de {x}?" in {text.lower() for text in spoilt} | {
        text.replace("Você", "vc") for text in spoilt
    }
    light = [spoil_question("Qual é o feminino de avô?", Noise.LIGHT, rng) for _ in range(50)]
    assert all("avô" in question for question in light)
    assert len(set(light)) > 10
    assert any(question.islower() for question in light)


def test_questions_about_form_are_left_clean() -> None:
    group = next(g for g in GROUPS if g.name == "em_maiúsculas")
    for question, answer in conversations(group, 60, "a"):
        assert answer.upper() == answer
        assert answer.rstrip(".").casefold() in question.casefold()


@pytest.mark.parametrize("name", sorted(NUMBER_ROWS))
def test_number_rows_are_whole_and_never_negative(name: str) -> None:
    rows = NUMBER_ROWS[name]()
    assert len(rows) >= 20
    numbers = [v for row in rows for v in row.values() if isinstance(v, int)]
    assert min(numbers) >= 0


def test_all_small_sums_and_tables_are_there_and_right() -> None:
    added = {(r["a"], r["b"]): r["r"] for r in NUMBER_ROWS["addition"]()}
    assert all(added[a, b] == a + b for a in range(21) for b in range(21))
    taken = {(r["a"], r["b"]): r["r"] for r in NUMBER_ROWS["subtraction"]()}
    assert all(taken[a, b] == a - b for a in range(21) for b in range(a + 1))
    times = {(r["a"], r["b"]): r["rw"] for r in NUMBER_ROWS["multiplication"]()}
    assert times[7, 8] == "cinquenta e seis"
    assert len(times) == 121
    assert all(row["r"] not in row["w"] for row in NUMBER_ROWS["addition_claims"]())


def test_a_total_is_shared_out_and_never_beyond_a_limit() -> None:
    assert share_out([1, 1, 2], 40, [100, 100, 100]) == [10, 10, 20]
    given = share_out([1, 1, 2], 40, [100, 3, 100])
    assert given[1] == 3
    assert 38 <= sum(given) <= 40
    assert share_out([1, 1], 40, [2, 3]) == [2, 3]


def test_no_question_of_the_evaluation_set_is_trained_on() -> None:
    evaluation = Evaluation(EVALUATION)
    prompts = [item["p"] for item in read_items(EVALUATION)]
    assert all(evaluation.holds(prompt) for prompt in prompts)
    assert evaluation.holds(prompts[0].upper().replace("?", " ?!"))
    assert not evaluation.holds("uma pergunta sobre outra coisa bem diferente")


def test_a_template_that_makes_an_evaluation_question_is_left_out_whole() -> None:
    evaluation = Evaluation(EVALUATION, "new_words")
    rows = ({"p": "guerra", "y": "paz"}, {"p": "dia", "y": "noite"})
    group = make_group(
        turns=(("Que palavra diz o contrário de {p}?", "{P}: o contrário?"), ("{Y}.",)), rows=rows
    )
    assert without_known_templates(group, evaluation) == ("{P}: o contrário?",)


def test_a_new_fact_is_found_both_ways_round_and_others_are_not() -> None:
    facts = NewFacts(EVALUATION, {"words": ["qual o coletivo de gatos?"] * 99})
    assert facts.tells("words", "E o coletivo de camelos?", "Cáfila.")
    assert facts.tells("words", "Cáfila é o coletivo de quê?", "Camelos.")
    assert not facts.tells("words", "Qual é o coletivo de abelhas?", "Enxame.")
    assert not facts.tells("sums", "E o coletivo de camelos?", "Cáfila.")
    assert facts.tells("capitals", "Quem foi a esposa de Orfeu?", "Foi Eurídice.")


def test_planted_mistakes_of_tables_are_read_but_not_learned() -> None:
    turns = (("Capital {d}?",), ("Bogotá.",), ("Certeza?",), ("Desculpe: {c}.",))
    rows = list(table_rows([make_group(turns=turns, kind="wrong-doubt")], 2, {}, 0))
    assert rows
    for row in rows:
        assert row["messages"][1]["weight"] == 0
        assert "weight" not in row["messages"][3]
    kept, n_out = without_held_out([*rows, *rows])
    assert len(kept) == len(rows)
    assert n_out == 0
