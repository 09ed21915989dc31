import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.stopping import StopTexts


@pytest.mark.parametrize(
    ("stop", "pieces", "shown", "is_stopped"),
    [
        ([], ["Oi", "!"], "Oi!", False),
        (["."], ["Oi", ". E", " mais"], "Oi", True),
        (["\n\n"], ["um\n", "dois\n", "\ntrês"], "um\ndois", True),
        (["FIM"], ["F", "I", "o"], "FIo", False),
        (["aab"], ["aa", "ab"], "a", True),
        (["bc", "ab"], ["x", "abc"], "x", True),
    ],
)
def test_text_goes_out_up_to_the_first_stop(
    stop: list[str], pieces: list[str], shown: str, is_stopped: bool
) -> None:
    watch = StopTexts(stop)
    got, found = "", False
    for piece in pieces:
        text, found = watch.push(piece)
        got += text
        if found:
            break
    assert (got if found else got + watch.finish(), found) == (shown, is_stopped)


@given(st.text("ab\n", max_size=12), st.lists(st.text("ab\n", min_size=1, max_size=3), max_size=3))
def test_however_it_is_cut_the_same_text_goes_out(text: str, stop: list[str]) -> None:
    found_at = [i for i in (text.find(s) for s in stop) if i >= 0]
    watch = StopTexts(stop)
    got, found = "", False
    for char in text:
        piece, found = watch.push(char)
        got += piece
        if found:
            break
    got = got if found else got + watch.finish()
    assert found == bool(found_at)
    if (
        found
    ):  # one by one, the stop text that is whole first wins; never more than the first in the text
        assert text.startswith(got)
        assert not any(s in got for s in stop)
    else:
        assert got == text
