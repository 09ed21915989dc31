"""Fill the tables: question templates x rows of facts x answers, no conversation twice.

The format is described in tables/README.md. The rows of a group come round as often as their `fame` says, and each row
takes its templates in a shuffled order, so that a fact meets as many wordings as it has turns.
"""

import json
import math
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.data_sft.noise import Noise, spoil_question, spoil_template
from model.data_sft.number_rows import NUMBER_ROWS

Slots = Mapping[str, Any]
Turns = tuple[str, ...]

FOLDER = Path(__file__).with_name("tables")
NOISY = 0.25  # share of the questions written as on a phone
MOST_ANSWERS = 6  # of one question in one wording
TRIES = 4  # draws before a row is taken to have nothing new left
SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One kind of question: templates of each turn, and the rows that fill them."""

    category: str
    name: str
    source: str
    turns: tuple[tuple[str, ...], ...]
    rows: tuple[Slots, ...]
    kind: str = ""
    weight: float = 1
    noise: Noise = Noise.ALL
    fame: tuple[float, ...] = field(default=())

    @property
    def has_planted_mistake(self) -> bool:
        return self.kind.startswith("wrong")

    @property
    def wordings(self) -> float:
        """Wordings of the first question of a row: its templates, times the values that fill them."""
        names = slots_of(self.turns[0])
        lists = [
            max((n_values(row.get(slot_name(name, row))) for name in names), default=1)
            for row in self.rows
        ]
        return len(self.turns[0]) * sum(lists) / len(lists)

    @property
    def capacity(self) -> int:
        """About as many conversations as say something new."""
        varied = sum(
            min(MOST_ANSWERS, math.prod(n_values(value) for value in row.values()))
            for row in self.rows
        )
        answers = min(2, len(set(self.turns[-1])))
        return len(self.turns[0]) * varied * answers

    @property
    def size(self) -> float:
        """What the group asks of its category: more for more facts, but less than in proportion."""
        return float(self.weight * sum(self.fame) ** 0.7 * min(1.0, self.wordings / 30))


def n_values(value: Any) -> int:
    return len(set(value)) if isinstance(value, list) else 1


def read_group(item: dict[str, Any]) -> Group:
    rows = item.get("rows", [{}])
    if isinstance(rows, str):
        rows = NUMBER_ROWS[rows]()
    shared = item.get("slots", {})
    return Group(
        category=item["c"],
        name=item["name"],
        source=item["source"],
        turns=tuple(tuple(turn) for turn in item.get("turns", [item.get("q"), item.get("a")])),
        rows=tuple({**shared, **row} for row in rows),
        kind=item.get("kind", ""),
        weight=item.get("weight", 1),
        noise=Noise(item.get("noise", "all")),
        fame=tuple(row.get("fame", 1) for row in rows),
    )


def read_groups(folder: Path = FOLDER) -> list[Group]:
    return [
        read_group(item)
        for path in sorted(folder.glob("*.json"))
        for item in json.loads(path.read_text(encoding="utf-8"))
    ]


def slot_name(written: str, slots: Slots) -> str:
    """The slot that `{P}` or `{p}` stands for."""
    return written if written in slots else written[0].lower() + written[1:]


def draw_values(names: Sequence[str], slots: Slots, rng: random.Random) -> dict[str, str]:
    """One value for each slot; `y1` and `y2` differ."""
    values: dict[str, str] = {}
    for name in sorted({slot_name(n, slots) for n in names}):
        value = slots[name]
        if isinstance(value, list):
            taken = {v for n, v in values.items() if n[:-1] == name[:-1] and name[-1].isdigit()}
            value = rng.choice([v for v in value if str(v) not in taken] or value)
        values[name] = str(value)
    return values


def fill(template: str, values: Mapping[str, str]) -> str:
    def value_of(match: re.Match[str]) -> str:
        value = values[slot_name(match[1], values)]
        return value if match[1] in values else value[:1].upper() + value[1:]

    plain = template.replace("{{", "\0").replace("}}", "\1")
    return SLOT.sub(value_of, plain).replace("\0", "{").replace("\1", "}")


def slots_of(templates: Sequence[str]) -> list[str]:
    return [match[1] for t in templates for match in SLOT.finditer(t)]


def converse(templates: Sequence[str], slots: Slots, noise: Noise, rng: random.Random) -> Turns:
    """One conversation; `noise` is what its first question may suffer."""
    values = draw_values(slots_of(templates), slots, rng)
    question = templates[0]
    is_noisy = noise != Noise.NONE and rng.random() < NOISY
    if is_noisy and noise == Noise.ALL and rng.random() < 0.4:
        question = spoil_template(question, rng)
    question = fill(question, values)
    if is_noisy:
        question = spoil_question(question, noise, rng)
    return (question, *(fill(template, values) for template in templates[1:]))


def conversations(
    group: Group, n: int, seed: str, is_kept: Callable[[Turns], bool] = lambda _: True
) -> Iterator[Turns]:
    """At most `n` different conversations, the rows in turn."""
    rng = random.Random(f"{seed} {group.name}")
    orders = [Shuffled(group.turns[0], rng) for _ in group.rows]
    steps = [fame / max(group.fame) for fame in group.fame]
    due = [1.0] * len(steps)
    alive = list(range(len(steps)))
    seen: set[Turns] = set()
    while alive and len(seen) < n:
        exhausted = set()
        for i in rng.sample([i for i in alive if due[i] >= 1], k=sum(due[i] >= 1 for i in alive)):
            if len(seen) == n:
                return
            due[i] -= 1
            for _ in range(TRIES):
                templates = (orders[i].pull(), *(rng.choice(turn) for turn in group.turns[1:]))
                turns = converse(templates, group.rows[i], group.noise, rng)
                if turns not in seen and is_kept(turns):
                    seen.add(turns)
                    yield turns
                    break
            else:
                exhausted.add(i)
        alive = [i for i in alive if i not in exhausted]
        for i in alive:
            due[i] += steps[i]


class Shuffled:
    """Templates that come round, each time in a new order."""

    def __init__(self, templates: Sequence[str], rng: random.Random) -> None:
        self._templates, self._rng = templates, rng
        self._left: list[str] = []

    def pull(self) -> str:
        self._left = self._left or self._rng.sample(self._templates, len(self._templates))
        return self._left.pop()


def share_out(sizes: Sequence[float], total: int, limits: Sequence[int]) -> list[int]:
    """Split `total` in proportion to `sizes`; what a group cannot take goes to the others."""
    given = [0] * len(sizes)
    open_ones = [i for i, size in enumerate(sizes) if size > 0]
    while open_ones and total > sum(given):
        left = total - sum(given)
        whole = sum(sizes[i] for i in open_ones)
        if left < len(open_ones):
            break
        for i in open_ones:
            given[i] = min(limits[i], given[i] + max(1, int(left * sizes[i] / whole)))
        open_ones = [i for i in open_ones if given[i] < limits[i]]
    return given
