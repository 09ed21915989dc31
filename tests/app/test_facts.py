from typing import Any

import pytest

from app.services.facts import genre_shares, readings_of, tunings_of


def test_a_genres_share_is_that_of_all_that_was_read() -> None:
    first = {
        "tokens_seen": 100,
        "data": {"sources": [{"name": "a", "genre": "law", "n_tokens": 50}]},
    }
    news = [
        {"name": "a", "genre": "law", "n_tokens": 10},
        {"name": "b", "genre": "news", "n_tokens": 30},
    ]
    second = {"tokens_seen": 300, "data": {"sources": news}, "parent": first}
    readings = readings_of(second)
    assert [n for _, n in readings] == [100, 200]
    assert genre_shares(readings) == pytest.approx({"law": 150 / 300, "news": 150 / 300})
    assert readings_of({"tokens_seen": 5, "data": {}, "parent": {}}) == []
    assert genre_shares([]) == {}


def test_each_tuning_counts_and_reading_does_not() -> None:
    base: dict[str, Any] = {"data": {"sources": []}}
    first = {"data": {"conversations_trained": 30}, "parent": base}
    second = {"data": {"conversations_trained": 20}, "parent": first}
    assert tunings_of(second) == [30, 20]
    asked = {"conversations_trained": 30, "files": {"a": "1"}}
    again: dict[str, object] = {"data": asked, "parent": {"data": asked, "parent": {}}}
    assert tunings_of(again) == [30, 0]
    other = {"data": {"conversations_trained": 20, "files": {"a": "2"}}, "parent": again}
    assert tunings_of(other) == [30, 0, 20]
    assert tunings_of(base) == []
    assert tunings_of({"data": {}, "parent": {}}) == []
