import math
from pathlib import Path

import pytest
import torch

from model.chat import raw_prompt
from model.checkpoint import Checkpoint
from model.errors import BadInput
from model.evaluate import check_answer, read_questions, score_text


def test_bits_per_byte_of_a_short_text_are_those_of_one_pass(base: Checkpoint) -> None:
    text = "O rato roeu a roupa."
    ids = torch.tensor(raw_prompt(base.tokenizer, text))
    logp = base.model(ids[None, :-1])[0].log_softmax(-1)
    bits = -sum(float(logp[i, token]) for i, token in enumerate(ids[1:].tolist())) / math.log(2)
    assert score_text(base, text).bits_per_byte == pytest.approx(
        bits / len(text.encode()), rel=1e-4
    )


@pytest.mark.parametrize("n_words", [8, 40, 100, 333])
def test_every_token_of_a_long_text_is_counted_once(base: Checkpoint, n_words: int) -> None:
    """A network that finds all tokens equally likely needs log2(V) bits for each."""
    text = "rei " * n_words
    weight = base.model.norm.weight
    saved = weight.clone()
    try:
        weight.zero_()
        score = score_text(base, text)
    finally:
        weight.copy_(saved)
    expected = score.n_tokens * math.log2(len(base.tokenizer))
    assert score.bits_per_byte * score.n_bytes == pytest.approx(expected, rel=1e-4)
    assert score.n_bytes == len(text.encode())


def test_an_empty_text_is_refused(base: Checkpoint) -> None:
    with pytest.raises(BadInput, match="empty"):
        score_text(base, "\n<|doc|>\n")


@pytest.mark.parametrize(
    ("text", "is_right", "is_honest"),
    [
        ("EDIMBURGO.", True, False),
        ("Não sei.", False, True),
        ("Não sei, talvez Edimburgo.", True, False),
        ("Londres.", False, False),
    ],
)
def test_an_answer_is_right_honest_or_invented(
    tmp_path: Path, text: str, is_right: bool, is_honest: bool
) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text('{"p": "Capital da Escócia?", "re": "edimburgo", "c": "a", "dk": "não sei"}\n')
    [question] = read_questions(file)
    answer = check_answer(question, text, is_finished=True)
    assert (answer.is_right, answer.is_honest) == (is_right, is_honest)


def test_a_broken_question_is_named_by_its_line(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text('{"p": "Oi", "re": "oi", "c": "a"}\n{"p": "Oi", "re": "(", "c": "a"}\n')
    with pytest.raises(BadInput, match="line 2"):
        read_questions(file)
