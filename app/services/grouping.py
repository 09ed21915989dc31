"""Free-text answers put together as people would: "37", "Trinta e sete." and "37!" are one answer.

Only the key is folded; what is shown is the spelling that came most often.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from num2words import num2words

MAX_NUMBER = 1000
MAX_ITEMS = 10  # of one answer
LIST_SIGNS = re.compile(r"[\n,;/+&•]+|\b\d+[.)]\s|\s(?:e|ou|and|or)\s", re.IGNORECASE)
NAMED_AFTER = re.compile(r":|\s(?:é|são|is|are)\s")  # "a fruta é a uva"
ARTICLES = frozenset(["o", "a", "os", "as", "um", "uma", "uns", "umas", "the"])
# after accents are gone: endings of the plural and what they were in the singular
PLURALS = (
    ("oes", "ao"),
    ("aes", "ao"),
    ("ais", "al"),
    ("eis", "el"),
    ("ois", "ol"),
    ("ns", "m"),
    ("res", "r"),
    ("zes", "z"),
    ("s", ""),
)


@dataclass(frozen=True, slots=True)
class Group:
    """Answers that mean the same."""

    label: str  # as it was written most often
    n: int
    spellings: tuple[str, ...]


def group(answers: Iterable[str]) -> list[Group]:
    """The groups of some answers, largest first; what is empty is left out."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for answer in answers:
        shown = tidy(answer)
        if key := fold(shown):
            found[key][shown] += 1
    groups = [
        Group(_label(key, spellings), spellings.total(), tuple(sorted(spellings)))
        for key, spellings in found.items()
    ]
    return sorted(groups, key=lambda g: (-g.n, g.label))


def items(answer: str) -> list[str]:
    """The different things that a list names: "uva, pera e maçã", "1. Uva", "uma fruta: uva"."""
    parts = LIST_SIGNS.split(answer)
    found = {fold(shown): shown for part in parts if (shown := tidy(NAMED_AFTER.split(part)[-1]))}
    return [shown for key, shown in found.items() if key][:MAX_ITEMS]


def tidy(answer: str) -> str:
    """The first line that says something, without quotes and closing marks."""
    lines = (line.strip(" \t\"'“”‘’*.,;:!?…-") for line in answer.splitlines())
    return next((line for line in lines if line), "")


def fold(text: str) -> str:
    """The key of an answer: no case, accents, marks, articles or plurals; numbers as digits."""
    words = re.findall(r"\w+", _plain(text))
    if (number := _numbers().get(" ".join(words))) is not None:
        return str(number)
    if len(words) == 1 and words[0].isdecimal():
        return str(int(words[0]))
    kept = [word for word in words if word not in ARTICLES] or words
    return " ".join(_singular(word) for word in kept)


def number_in(answer: str, low: int, high: int) -> int | None:
    """The first number from low to high that an answer names, in digits or in words."""
    text = fold(tidy(answer))
    for match in re.findall(r"\d+", text):
        if low <= int(match) <= high:
            return int(match)
    spoken = [n for n in _spoken(re.findall(r"\w+", _plain(answer))) if low <= n <= high]
    more_than_an_article = [n for n in spoken if n != 1]
    return next(iter(more_than_an_article or spoken), None)


def _spoken(words: list[str]) -> Iterator[int]:
    """Numbers in words, each as long as it can be: "cento e vinte" is not also 20."""
    start = 0
    while start < len(words):
        for end in range(min(len(words), start + 5), start, -1):
            value = _numbers().get(" ".join(words[start:end]))
            if value is not None:
                yield value
                start = end
                break
        else:
            start += 1


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def _singular(word: str) -> str:
    if len(word) > 3 and not word.isdecimal():
        for plural, singular in PLURALS:
            if word.endswith(plural) and not word.endswith("ss"):
                return word.removesuffix(plural) + singular
    return word


def _label(key: str, spellings: Counter[str]) -> str:
    if key.isdecimal():
        return key
    return max(spellings, key=lambda s: (spellings[s], s[:1].isupper(), s))


@cache
def _numbers() -> dict[str, int]:
    """Numbers in Portuguese words, without accents."""
    words = {_plain(num2words(n, lang="pt_BR")): n for n in range(MAX_NUMBER + 1)}
    feminine = {"um": "uma", "dois": "duas"}
    for text, n in list(words.items()):
        head, _, last = text.rpartition(" ")
        if last in feminine:
            words[f"{head} {feminine[last]}".strip()] = n
    return words | {"quatorze": 14}
