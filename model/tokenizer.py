"""Byte-level BPE: any text, and any bytes, to token ids and back without loss.

Byte-pair encoding over bytes follows Radford et al. 2019 (GPT-2); digits stand alone, so that 1994 is
four tokens and sums can be learned. The merges are learned by the `tokenizers` library.
"""

import codecs
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

DOCUMENT = "<|doc|>"  # begins every document of the corpus, and so every raw prompt
PAD = "<|pad|>"
USER = "<|usuario|>"
ASSISTANT = "<|assistente|>"
END = "<|fim|>"  # ends an answer
SPECIAL_TOKENS = (DOCUMENT, PAD, USER, ASSISTANT, END)

_UNDECODABLE = re.compile(
    "([\udc80-\udcff]+)"
)  # what `surrogateescape` makes of bytes that are no UTF-8


class Tokenizer:
    """Text to ids and back. Special tokens written out in a text are plain text, never commands."""

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self.backend = backend
        backend.encode_special_tokens = True
        self._bytes = _token_bytes(backend)
        added = backend.get_added_tokens_decoder()
        self.special_ids = frozenset(added)
        self.special_texts = frozenset(token.content for token in added.values())

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> Self:
        """Learn merges from texts until there are `vocab_size` tokens, special ones included."""
        backend = tokenizers.Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=list(SPECIAL_TOKENS),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        backend.train_from_iterator(texts, trainer)
        document_id = backend.token_to_id(DOCUMENT)
        backend.post_processor = processors.TemplateProcessing(
            single=f"{DOCUMENT} $A", special_tokens=[(DOCUMENT, document_id)]
        )
        return cls(backend)

    @classmethod
    def load(cls, path: Path) -> Self:
        return cls(tokenizers.Tokenizer.from_file(str(path)))

    def save(self, path: Path) -> None:
        self.backend.save(str(path))

    def __len__(self) -> int:
        return self.backend.get_vocab_size()

    def token_id(self, token: str) -> int | None:
        return self.backend.token_to_id(token)

    def encode(self, text: str) -> list[int]:
        """Ids of a text, nothing added before or after."""
        return self.backend.encode(text, add_special_tokens=False).ids

    def encode_document(self, text: str) -> list[int]:
        """Ids of a text as the beginning of a document, with the token before it that the network was trained with."""
        return self.backend.encode(text).ids

    def encode_markup(self, text: str) -> list[int]:
        """Ids of a text in which special tokens written out are special: for envelopes only, never for what a person wrote."""
        return self._markup.encode(text, add_special_tokens=False).ids

    @cached_property
    def _markup(self) -> tokenizers.Tokenizer:
        copy = tokenizers.Tokenizer.from_str(self.backend.to_str())
        copy.encode_special_tokens = False
        return copy

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [e.ids for e in self.backend.encode_batch_fast(texts, add_special_tokens=False)]

    def encode_bytes(self, data: bytes) -> list[int]:
        """Ids of any bytes: what is UTF-8 as text, each other byte as the token of that byte."""
        ids: list[int] = []
        for i, piece in enumerate(_UNDECODABLE.split(data.decode("utf-8", "surrogateescape"))):
            if i % 2 == 0:
                ids += self.encode(piece)
            else:
                ids += [self._byte_ids[byte] for byte in piece.encode("utf-8", "surrogateescape")]
        return ids

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes behind ids; special tokens are written out."""
        return b"".join(self._bytes[i] for i in ids)

    def decode(self, ids: Iterable[int]) -> str:
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def stream(self) -> "TextStream":
        return TextStream(self)

    @property
    def _byte_ids(self) -> dict[int, int]:
        return {token[0]: i for i, token in enumerate(self._bytes) if len(token) == 1}


class TextStream:
    """Decodes ids one at a time; a character whose bytes are not all there yet is held back."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        return self._decoder.decode(self._tokenizer.decode_bytes([token_id]))

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)


def _token_bytes(backend: tokenizers.Tokenizer) -> list[bytes]:
    """The bytes of every token, by id: byte-level tokens, or those of SentencePiece with its bytes `<0xC3>`."""
    special = {i: token.content for i, token in backend.get_added_tokens_decoder().items()}
    is_sentencepiece = '"ByteFallback"' in json.dumps(json.loads(backend.to_str())["decoder"])
    read = _sentencepiece_bytes if is_sentencepiece else _byte_level_bytes
    return [
        special[i].encode() if i in special else read(backend.id_to_token(i) or "")
        for i in range(backend.get_vocab_size())
    ]


def _byte_level_bytes(token: str) -> bytes:
    return bytes(_BYTE_OF[char] for char in token)


def _sentencepiece_bytes(token: str) -> bytes:
    if re.fullmatch("<0x[0-9A-F]{2}>", token):
        return bytes([int(token[3:5], 16)])
    return token.replace("\u2581", " ").encode()  # the mark that stands for a space


def _alphabet() -> Iterator[tuple[int, str]]:
    """GPT-2's printable stand-in for each byte: itself where printable, else the next free code point from 256."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    shifted = 256
    for byte in range(256):
        if byte in printable:
            yield byte, chr(byte)
        else:
            yield byte, chr(shifted)
            shifted += 1


_BYTE_OF = {char: byte for byte, char in _alphabet()}
