import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.results import (
    Preferences,
    Share,
    blinding_index,
    bootstrap_share,
    expected_distinct,
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
    bias, preference = only_side.effects
    assert preference == pytest.approx(0)
    assert bias == pytest.approx(math.log(30.5 / 10.5))
    assert (only_side.share.value, only_side.left_share.value) == (0.5, 0.75)
    only_liking = Preferences(wins_left=30, losses_left=10, wins_right=30, losses_right=10)
    bias, preference = only_liking.effects
    assert bias == pytest.approx(0)
    assert preference > 1


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
