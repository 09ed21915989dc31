"""Which rows of the tables are the facts that everybody asks about: those that the written questions speak of too."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from model.data_sft.noise import without_accents
from model.data_sft.tables import Group, Slots

CORE = 6.0  # times that such a row comes round for each time of another
ENOUGH = 12  # such rows of a group make a group of their own
SHORTEST = 3  # letters; a shorter value is in too many texts to tell anything


def plain(text: object) -> str:
    return " ".join(re.findall(r"\w+", without_accents(str(text).casefold())))


class Written:
    """The texts of the written conversations of a category, searched by phrase."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = sorted({f" {plain(text)} " for text in texts})
        self._by_word: dict[str, set[int]] = defaultdict(set)
        for i, text in enumerate(self._texts):
            for word in text.split():
                self._by_word[word].add(i)

    def with_phrase(self, phrase: str) -> set[int]:
        words = plain(phrase).split()
        if not words:
            return set()
        found = set.intersection(*(self._by_word.get(word, set()) for word in words))
        return {i for i in found if f" {' '.join(words)} " in self._texts[i]}

    def speaks_of(self, row: Slots, names: Iterable[str]) -> bool:
        """Whether some text holds two of the row's values, or the only one that it has."""
        found = [
            set().union(*(self.with_phrase(value) for value in values))
            for values in (list(long_values(row[name])) for name in names)
            if values
        ]
        counts = Counter(i for texts in found for i in texts)
        return max(counts.values(), default=0) >= min(2, len(found))


def long_values(value: Any) -> Iterator[str]:
    for one in value if isinstance(value, list) else [value]:
        if len(plain(one)) >= SHORTEST:
            yield str(one)


def own_slots(group: Group) -> list[str]:
    """The slots that differ between rows: the others say nothing of one row."""
    shared = [n for n in group.rows[0] if all(n in row for row in group.rows)]
    return [
        name
        for name in shared
        if name != "fame"
        and (len(group.rows) == 1 or len({str(row[name]) for row in group.rows}) > 1)
    ]


def favour_core(groups: Iterable[Group], written: Mapping[str, Written]) -> Iterator[Group]:
    """The same groups; a row that the written questions of its category speak of comes round more often."""
    for group in groups:
        texts, names = written.get(group.category), own_slots(group)
        if texts is None or not names:
            yield group
            continue
        yield replace(
            group,
            fame=tuple(
                fame * (CORE if texts.speaks_of(row, names) else 1)
                for fame, row in zip(group.fame, group.rows, strict=True)
            ),
        )


def only_core(groups: Iterable[Group], written: Mapping[str, Written]) -> Iterator[Group]:
    """The same groups with nothing but such rows where there are enough of them, the famous among them where there are.

    Where there are too few, they are favoured.
    """
    for group in groups:
        texts, names = written.get(group.category), own_slots(group)
        if texts is None or not names:
            yield group
            continue
        core = [i for i, row in enumerate(group.rows) if texts.speaks_of(row, names)]
        famous = [i for i in core if group.fame[i] == max(group.fame)]
        kept = next((rows for rows in (famous, core) if len(rows) >= ENOUGH), None)
        if kept is None:
            yield from favour_core([group], written)
            continue
        yield cut_down(group, kept)


def only_famous(group: Group) -> Group:
    """The group with nothing but its rows of most fame."""
    return cut_down(group, [i for i, fame in enumerate(group.fame) if fame == max(group.fame)])


def cut_down(group: Group, kept: Sequence[int]) -> Group:
    return replace(
        group,
        rows=tuple(group.rows[i] for i in kept),
        fame=tuple(group.fame[i] for i in kept),
    )
