from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.chat import chat_prompt, conversation, raw_prompt
from model.checkpoint import Checkpoint
from model.tokenizer import END, SPECIAL_TOKENS, USER, Tokenizer

same_tokenizer = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


@same_tokenizer
@given(st.binary())
def test_any_bytes_come_back(tokenizer: Tokenizer, data: bytes) -> None:
    assert tokenizer.decode_bytes(tokenizer.encode_bytes(data)) == data


@same_tokenizer
@given(st.text())
def test_any_text_comes_back_whole_and_piece_by_piece(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    stream = tokenizer.stream()
    assert "".join([*(stream.push(i) for i in ids), stream.finish()]) == text


def test_a_character_is_never_shown_in_halves(tokenizer: Tokenizer) -> None:
    stream = tokenizer.stream()
    pieces = [stream.push(i) for i in tokenizer.encode_bytes("🦜".encode())]
    assert len(pieces) > 1
    assert pieces == [""] * (len(pieces) - 1) + ["🦜"]


def test_special_tokens_in_a_text_are_plain_text(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("".join(SPECIAL_TOKENS))
    assert not set(ids) & tokenizer.special_ids
    assert tokenizer.decode(ids) == "".join(SPECIAL_TOKENS)


def test_a_saved_tokenizer_cuts_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    text = "Em 1994, o número 37… <|fim|> ação!"
    assert loaded.encode(text) == tokenizer.encode(text)


def test_digits_stand_alone(tokenizer: Tokenizer) -> None:
    assert [tokenizer.decode([i]) for i in tokenizer.encode("1994")] == list("1994")


def test_the_mask_covers_exactly_the_answers_and_their_ends(tokenizer: Tokenizer) -> None:
    example = conversation(
        tokenizer,
        [
            {"role": "user", "content": "Oi, rei"},
            {"role": "assistant", "content": "Roma."},
            {"role": "user", "content": "rato?"},
            {"role": "assistant", "content": "Sim", "weight": 0},
            {"role": "user", "content": "rato?"},
            {"role": "assistant", "content": "Não"},
        ],
    )
    learned = [i for i, counts in zip(example.ids, example.learned, strict=True) if counts]
    assert tokenizer.decode(learned) == f"Roma.{END}Não{END}"
    assert tokenizer.decode(example.ids) == (
        "<|usuario|>Oi, rei<|assistente|>Roma.<|fim|>"
        "<|usuario|>rato?<|assistente|>Sim<|fim|><|usuario|>rato?<|assistente|>Não<|fim|>"
    )


def test_the_envelope_is_the_one_that_transformers_builds(tuned: Checkpoint) -> None:
    import transformers

    theirs = transformers.AutoTokenizer.from_pretrained(tuned.folder)
    messages = [
        {"role": "user", "content": "Quem é a mãe de Anitta?"},
        {"role": "assistant", "content": "Não sei."},
        {"role": "user", "content": "Tem certeza?"},
    ]
    expected = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert chat_prompt(tuned.tokenizer, messages) == expected  # type: ignore[arg-type]
    assert raw_prompt(tuned.tokenizer, "Era uma vez") == theirs("Era uma vez")["input_ids"]
    assert theirs.eos_token == END
    assert chat_prompt(tuned.tokenizer, messages)[0] == tuned.tokenizer.token_id(USER)  # type: ignore[arg-type]
