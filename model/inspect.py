"""Looking into a model: what it was really given, token by token."""

from collections.abc import Iterable
from dataclasses import dataclass

from model.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class TokenView:
    """One token as a person can read it."""

    id: int
    text: str  # bytes that are no whole character are shown as <C3>
    is_special: bool


def view_tokens(tokenizer: Tokenizer, ids: Iterable[int]) -> list[TokenView]:
    """Every token of a sequence, readable."""
    special = tokenizer.special_ids
    return [TokenView(i, _readable(tokenizer.decode_bytes([i])), i in special) for i in ids]


def _readable(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "".join(chr(byte) if byte < 128 else f"<{byte:02X}>" for byte in data)
