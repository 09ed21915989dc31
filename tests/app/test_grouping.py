import pytest

from app.services.grouping import MAX_ITEMS, fold, group, items, number_in, tidy


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("37", "Trinta e sete."),
        ("37", "037"),
        ("Maçã", "maca"),
        ("maçãs", "Uma maçã!"),
        ("limões", "limão"),
        ("martelos", "o martelo"),
        ("flores", "flor"),
        ("quintais", "quintal"),
        ("São Paulo", "sao paulo"),
        ("duas", "2"),
        ("quatorze", "catorze"),
        ("Campos do Jordão, em São Paulo", "campos do jordao em são paulo"),
    ],
)
def test_what_means_the_same_is_one(one: str, other: str) -> None:
    assert fold(tidy(one)) == fold(tidy(other))


@pytest.mark.parametrize(("one", "other"), [("37", "73"), ("pera", "uva"), ("azul", "azulejo")])
def test_what_means_something_else_is_not(one: str, other: str) -> None:
    assert fold(one) != fold(other)


def test_groups_are_shown_as_most_people_wrote_them() -> None:
    found = group(["banana", "Banana", "Banana.", "bananas", "uva", "", "  ", "?!", "Uvas"])
    assert [(g.label, g.n) for g in found] == [("Banana", 4), ("Uvas", 2)]
    assert found[0].spellings == ("Banana", "banana", "bananas")
    assert [(g.label, g.n) for g in group(["sete", "7", "Sete!"])] == [("7", 3)]


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("73.", 73),
        ("O número é 42, claro", 42),
        ("trinta e sete", 37),
        ("Eu diria cento e vinte ou vinte e um", 21),
        ("Vinte e duas", 22),
        ("Um bom número é sete", 7),
        ("um", 1),
        ("1000", None),
        ("1999, ou 7", 7),
        ("não sei", None),
        ("", None),
        ("0", None),
    ],
)
def test_a_number_from_1_to_100_is_found(answer: str, number: int | None) -> None:
    assert number_in(answer, 1, 100) == number


def test_only_the_first_line_that_says_something_counts() -> None:
    assert tidy('\n\n "Azul." \nVerde') == "Azul"


@pytest.mark.parametrize(
    ("answer", "things"),
    [
        ("maçã e martelo", ["maçã", "martelo"]),
        ("Martelo, maçã.", ["Martelo", "maçã"]),
        ("1. Le Jules Verne\n2. Epicure\n3. L'Arpège", ["Le Jules Verne", "Epicure", "L'Arpège"]),
        ("1) uva 2) alicate", ["uva", "alicate"]),
        ("Uma fruta: uva; uma ferramenta: alicate", ["uva", "alicate"]),
        ("A fruta é a pera e a ferramenta é o serrote", ["a pera", "o serrote"]),
        ("uva, Uvas e UVA", ["UVA"]),
        ("pera", ["pera"]),
        (", ;", []),
        ("", []),
    ],
)
def test_a_list_names_each_thing_once(answer: str, things: list[str]) -> None:
    assert items(answer) == things


def test_a_long_list_is_cut() -> None:
    assert len(items(",".join(f"coisa{i}a" for i in range(50)))) == MAX_ITEMS
