import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.results import (
    Preferences,
    Share,
    blinding_index,
    bootstrap_effects,
    bootstrap_share,
    expected_distinct,
    expected_top,
    fisher_p,
    mcnemar_p,
    spread,
    uniformity_p,
    wilson,
)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_intervals_are_the_published_ones(k: int, n: int, low: float, high: float) -> None:
    assert wilson(k, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 500), st.data())
def test_an_interval_holds_its_share_and_mirrors(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    low, high = wilson(k, n)
    assert 0 <= low <= k / n <= high <= 1
    mirrored = wilson(n - k, n)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high))


def test_no_percentage_under_ten_and_no_interval_of_nothing() -> None:
    assert not Share(7, 9).shows_percent
    assert Share(7, 10).shows_percent
    assert Share(0, 0).interval is None
    assert Share(0, 0).value is None
    with pytest.raises(ValueError, match="no proportion"):
        wilson(3, 2)


def test_one_person_with_many_votes_is_one_person() -> None:
    alone = bootstrap_share({"ana": [True] * 60, "bia": [False] * 60}, seed=1)
    many = bootstrap_share({i: [i % 2 == 0] for i in range(120)}, seed=1)
    assert alone == (0.0, 1.0)
    assert many is not None
    assert wilson(60, 120) == pytest.approx(many, abs=0.02)
    assert bootstrap_share({"ana": []}, seed=1) is None
    # twelve people, not 36 votes
    assert bootstrap_share({i: [True] * 3 for i in range(12)}, seed=1) == wilson(12, 12)
    assert bootstrap_share({i: [False] for i in range(12)}, seed=1) == wilson(0, 12)
    assert bootstrap_share({1: [True], 2: [False]}, seed=5) == bootstrap_share(
        {1: [True], 2: [False]}, seed=5
    )


def test_uneven_dice_are_found_and_fair_ones_are_not() -> None:
    assert uniformity_p([20, 20, 20, 20, 20], 5, seed=0) == pytest.approx(1.0, abs=0.01)
    assert uniformity_p([40], 100, seed=0) < 0.001
    # six faces, 60 throws, chi-squared 13.4 with 5 degrees of freedom: p = 0.0199 from the table
    assert uniformity_p([5, 8, 9, 8, 10, 20], 6, seed=0) == pytest.approx(0.0199, abs=0.006)
    assert uniformity_p([], 100, seed=0) == 1.0
    assert uniformity_p([3, 1], 100, seed=7) == uniformity_p([1, 3], 100, seed=7)


def test_how_many_birthdays_differ() -> None:
    assert expected_distinct(23, 365) == pytest.approx(22.32, abs=0.005)
    assert expected_distinct(0, 100) == 0
    assert expected_distinct(5, 1) == 1


def test_the_most_frequent_answers_come_first() -> None:
    found = spread(["7", "37", "7", "42", "37", "7", "1", "99"])
    assert (found.n, found.n_distinct, found.top_3) == (8, 5, 6)
    assert found.most_frequent[:3] == [("7", 3), ("37", 2), ("1", 1)]


def test_a_side_that_is_liked_for_itself_is_told_from_a_preference() -> None:
    only_side = Preferences(wins_left=30, losses_left=10, wins_right=10, losses_right=30)
    side, model = only_side.effects
    assert model.value == pytest.approx(0)
    assert side.value == pytest.approx(math.log(30.5 / 10.5))
    assert side.is_seen
    assert not model.is_seen
    assert (only_side.share.value, only_side.left_share.value) == (0.5, 0.75)
    only_liking = Preferences(wins_left=30, losses_left=10, wins_right=30, losses_right=10)
    side, model = only_liking.effects
    assert side.value == pytest.approx(0)
    assert model.value > 1
    assert not side.is_seen
    assert model.is_seen


def test_the_effect_of_the_model_is_half_a_published_log_odds_ratio() -> None:
    # aspirin and heart attacks, Agresti, Categorical Data Analysis, 3.1.2: 0.605, from 0.365 to 0.846
    trial = Preferences(wins_left=189, losses_left=10845, losses_right=104, wins_right=10933)
    _, model = trial.effects
    assert model.interval is not None
    assert 2 * model.value == pytest.approx(0.605, abs=0.005)
    assert [2 * end for end in model.interval] == pytest.approx([0.365, 0.846], abs=0.005)


def test_few_votes_say_nothing_of_a_side() -> None:
    side, model = Preferences(wins_left=2, losses_right=1).effects
    assert not side.is_seen
    assert not model.is_seen


def test_the_effects_of_many_rounds_draw_people() -> None:
    once = [Preferences(wins_left=1), Preferences(losses_left=1)] * 12
    once += [Preferences(wins_right=1), Preferences(losses_right=1)] * 12
    often = [
        Preferences(wins_left=4 * p.wins_left, losses_left=4 * p.losses_left)
        if p.wins_left or p.losses_left
        else Preferences(wins_right=4 * p.wins_right, losses_right=4 * p.losses_right)
        for p in once
    ]
    (few, _), (many, _) = (bootstrap_effects(people, seed=3) for people in (once, often))
    assert few.interval is not None
    assert many.interval is not None
    # four times the votes of the same people are as sure as before, but for the half vote in each cell
    assert many.interval == pytest.approx(few.interval, rel=0.1, abs=0.02)
    assert few.interval == pytest.approx((-0.57, 0.57), abs=0.06)  # as from 48 people in one round
    assert bootstrap_effects(once, seed=3) == bootstrap_effects(once, seed=3)


def test_where_all_choose_alike_no_interval_sounds_sure() -> None:
    side, model = bootstrap_effects([Preferences(wins_left=1, wins_right=1)] * 20, seed=0)
    assert (side.value, side.interval, model.interval) == (0.0, None, None)
    assert model.value > 3
    assert bootstrap_effects([], seed=0)[0].value == 0


def test_fishers_tea_and_two_groups_that_differ() -> None:
    assert fisher_p(3, 4, 1, 4) == pytest.approx(34 / 70)  # Fisher 1935, The Design of Experiments
    assert fisher_p(10, 10, 0, 10) == pytest.approx(2 / math.comb(20, 10))
    assert fisher_p(0, 0, 2, 5) == 1.0
    assert fisher_p(5, 8, 5, 8) == 1.0


def test_the_most_frequent_of_fair_dice_are_drawn() -> None:
    # of four coins the more frequent side shows (2 · 4 + 8 · 3 + 6 · 2) / 16 times
    assert expected_top(4, 2, seed=0, n_top=1) == pytest.approx(2.75, abs=0.05)
    assert expected_top(2, 100, seed=0) == 2
    assert expected_top(7, 3, seed=0) == 7
    assert 7 < expected_top(60, 100, seed=0) < 9


def test_a_crowded_side_does_not_tilt_the_balanced_share() -> None:
    crowded = Preferences(wins_left=90, losses_left=10, wins_right=1, losses_right=9, ties=5)
    assert crowded.share.value == pytest.approx(91 / 110)
    assert crowded.balanced_share == pytest.approx(0.5)
    assert Preferences(wins_left=3).balanced_share == 1.0
    assert Preferences().balanced_share is None


def test_blinding_and_changes() -> None:
    assert blinding_index(10, 10) == 0
    assert blinding_index(20, 0) == 1
    assert blinding_index(5, 0, 15) == 0.25
    assert blinding_index(0, 0) is None
    assert mcnemar_p(5, 15) == pytest.approx(0.0414, abs=5e-5)
    assert mcnemar_p(0, 0) == 1.0
    assert mcnemar_p(4, 4) == 1.0
