"""The picture of a question that asks for several things at once."""

from app.services.picture import Who, picture
from app.tables import AnswerKind


def test_what_a_list_names_is_counted_thing_by_thing_whatever_its_order() -> None:
    answers = {
        Who.CLASS: ["maçã e martelo", "Martelo, maçã", "maçãs e serrote", "pera", "  "],
        Who.TUNED: ["Maçã e martelo.", "maçã e chave de fenda"],
    }
    drawn = picture(AnswerKind.LIST, answers, seed=0)
    bars = {bar.label.lower(): dict(bar.counts) for bar in drawn.bars}
    assert bars["maçã"] == {Who.CLASS: 3, Who.TUNED: 2}
    assert bars["martelo"] == {Who.CLASS: 2, Who.TUNED: 1}
    assert bars["chave de fenda"] == {Who.CLASS: 0, Who.TUNED: 1}
    assert sorted(drawn.once) == ["pera", "serrote"]
    people, tuned = drawn.series
    assert (people.n, people.n_named, people.n_distinct) == (4, 7, 4)  # one answer was blank
    assert (tuned.n, tuned.n_named, tuned.n_distinct) == (2, 4, 3)
    assert drawn.max_word_share == 1.0  # both samples name it: never more than all of them
    whole = picture(AnswerKind.WORDS, answers, seed=0)
    assert whole.series[0].n == whole.series[0].n_named == 4
    assert whole.series[0].n_distinct == 4
