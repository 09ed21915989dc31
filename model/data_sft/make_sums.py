"""Write the templated lines of sums.jsonl: arithmetic a child does in the head.

The lines of the file whose author is "written", the little word problems, are kept as they are.
"""

import argparse
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

Row = dict[str, object]
Fields = dict[str, object]

# "question => answer / answer"; {a} and {b} are what is asked about, {r} the result, and {aw},
# {bw}, {rw} the same in words, a capital letter starting a sentence.
ADDITION = (
    "Quanto é {a} + {b}? => {r}. / {a} + {b} = {r}.",
    "Quanto é {a} mais {b}? => {r}. / {a} mais {b} é {r}.",
    "{a} + {b} = ? => {r}.",
    "Some {a} e {b}. => {r}. / A soma é {r}.",
    "Qual é a soma de {a} e {b}? => {r}. / A soma de {a} e {b} é {r}.",
    "Qual é o resultado de {a} + {b}? => {r}. / O resultado é {r}.",
    "Me diga quanto dá {a} mais {b}. => Dá {r}. / {r}.",
    "Diga bem rápido: {a} + {b}. => {r}.",
    "Quanto é {aw} mais {bw}? => {Rw}. / {Aw} mais {bw} é {rw}.",
    "quanto eh {a}+{b} => {r}.",
    "{a}+{b} => {r}. / {a} + {b} = {r}.",
    "quanto da {a} mais {b} => Dá {r}.",
)
SUBTRACTION = (
    "Quanto é {a} - {b}? => {r}. / {a} - {b} = {r}.",
    "Quanto é {a} menos {b}? => {r}. / {a} menos {b} é {r}.",
    "{a} - {b} = ? => {r}.",
    "Qual é a diferença entre {a} e {b}? => {r}. / A diferença é {r}.",
    "Se eu tirar {b} de {a}, quanto sobra? => {r}.",
    "Quanto falta para {b} chegar a {a}? => {r}.",
    "Qual é o resultado de {a} menos {b}? => {r}. / O resultado é {r}.",
    "Diga bem rápido: {a} - {b}. => {r}.",
    "Quanto é {aw} menos {bw}? => {Rw}. / {Aw} menos {bw} é {rw}.",
    "quanto eh {a}-{b} => {r}.",
    "{a} menos {b} da quanto => {r}. / Dá {r}.",
)
MULTIPLICATION = (
    "Quanto é {a} vezes {b}? => {r}. / {a} vezes {b} é {r}.",
    "Quanto é {a} x {b}? => {r}. / {a} x {b} = {r}.",
    "{a} x {b} = ? => {r}.",
    "Na tabuada do {a}, quanto é {a} vezes {b}? => {r}. / É {r}.",
    "Qual é o produto de {a} por {b}? => {r}. / O produto é {r}.",
    "Multiplique {a} por {b}. => {r}. / O resultado é {r}.",
    "Diga bem rápido: {a} vezes {b}. => {r}.",
    "quanto eh {a}x{b} => {r}.",
    "{a} vezes {b} da quanto? => {r}. / Dá {r}.",
)
DIVISION = (
    "Quanto é {a} dividido por {b}? => {r}. / {a} dividido por {b} é {r}.",
    "Divida {a} por {b}. => {r}. / O resultado é {r}.",
    "Quantas vezes {b} cabe em {a}? => {r} vezes.",
    "quanto da {a} dividido por {b} => {r}.",
)
DOUBLE = (
    "Qual é o dobro de {a}? => {r}. / O dobro de {a} é {r}.",
    "Quanto é o dobro de {a}? => {r}.",
    "Me diga o dobro de {aw}. => {Rw}.",
    "qual o dobro de {a} => {r}.",
)
HALF = (
    "Qual é a metade de {a}? => {r}. / A metade de {a} é {r}.",
    "Quanto é metade de {a}? => {r}.",
    "Me diga a metade de {aw}. => {Rw}.",
    "qual a metade de {a} => {r}.",
)
COMPARISON = (
    "Qual é maior, {a} ou {b}? => {high}. / {high} é maior que {low}.",
    "Qual número é maior: {a} ou {b}? => {high}. / O maior é {high}.",
    "Qual é menor, {a} ou {b}? => {low}. / {low} é menor que {high}.",
    "{low} é maior que {high}? => Não. {high} é maior que {low}.",
    "{high} é maior que {low}? => Sim, {high} é maior que {low}. / Sim.",
    "Entre {a} e {b}, qual é o menor? => {low}. / O menor é {low}.",
    "qual eh maior {a} ou {b} => {high}.",
)
PARITY = (
    "{a} é par ou ímpar? => {Parity}. / {a} é {parity}.",
    "O número {a} é par ou ímpar? => {Parity}. / É {parity}.",
    "{a} é um número {parity}? => Sim, {a} é {parity}.",
    "{a} é um número {other}? => Não, {a} é {parity}.",
    "{a} eh par ou impar => {Parity}.",
)
NEIGHBOUR = (
    "Que número vem depois de {a}? => {after}. / Depois de {a} vem {after}.",
    "Qual é o número que vem logo depois do {a}? => {after}. / É o {after}.",
    "Que número vem antes de {a}? => {before}. / Antes de {a} vem {before}.",
    "Qual é o sucessor de {a}? => {after}.",
    "Qual é o antecessor de {a}? => {before}.",
    "Que número fica entre {before} e {after}? => {a}.",
    "que numero vem dps do {a} => {after}.",
)
IN_WORDS = (
    "Como se escreve {a} por extenso? => {Aw}.",
    "Escreva o número {a} por extenso. => {Aw}.",
    "Que número é {aw}? => {a}.",
    "Escreva {aw} em algarismos. => {a}.",
    "como escreve {a} por extenso => {Aw}.",
)
SEQUENCE = (
    "Continue a sequência: {seen}... => {next}.",
    "Complete: {seen}... => {next}.",
    "Quais são os três próximos números: {seen}? => {next}.",
)

SMALL_WORDS = (
    "zero um dois três quatro cinco seis sete oito nove dez onze doze treze quatorze quinze"
    " dezesseis dezessete dezoito dezenove"
)
TENS_WORDS = "vinte trinta quarenta cinquenta sessenta setenta oitenta noventa"


def in_words(number: int) -> str:
    """A number from 0 to 100 as Brazilians write it."""
    if number == 100:
        return "cem"
    if number < 20:
        return SMALL_WORDS.split()[number]
    tens, unit = divmod(number, 10)
    word = TENS_WORDS.split()[tens - 2]
    return f"{word} e {in_words(unit)}" if unit else word


def sum_fields(a: int, b: int, result: int) -> Fields:
    fields: Fields = {"a": a, "b": b, "r": result, "low": min(a, b), "high": max(a, b)}
    for key, number in (("a", a), ("b", b), ("r", result)):
        fields[f"{key}w"] = in_words(number)
        fields[f"{key.upper()}w"] = in_words(number).capitalize()
    parity, other = ("ímpar", "par") if a % 2 else ("par", "ímpar")
    fields |= {"parity": parity, "Parity": parity.capitalize(), "other": other}
    return fields | {"before": a - 1, "after": a + 1}


def ask(
    templates: Sequence[str],
    numbers: Iterable[tuple[int, int]],
    compute: Callable[[int, int], int],
    rng: random.Random,
) -> Iterator[tuple[str, str]]:
    """One question for each pair of numbers; the templates come round in a shuffled order."""
    order: list[str] = []
    for a, b in numbers:
        order = order or rng.sample(templates, len(templates))
        yield fill(order.pop(), sum_fields(a, b, compute(a, b)), rng)


def fill(template: str, fields: Fields, rng: random.Random) -> tuple[str, str]:
    question, answers = template.split(" => ")
    return question.format(**fields), rng.choice(answers.split(" / ")).format(**fields)


def operation_pairs(rng: random.Random) -> Iterator[tuple[str, str]]:
    """The four operations: the small tables whole, larger numbers by sample."""
    digits = [(a, b) for a in range(1, 10) for b in range(1, 10)]
    to_20 = [(a, b) for a in range(1, 20) for b in range(1, 21 - a) if max(a, b) > 9]
    to_100 = [(a, b) for a in range(11, 90) for b in range(2, 101 - a)]
    added = digits + rng.sample(to_20, 25) + rng.sample(to_100, 25)
    yield from ask(ADDITION, added, int.__add__, rng)
    taken = [(a, b) for a in range(2, 21) for b in range(1, a)]
    taken_100 = [(a, b) for a in range(21, 101) for b in range(2, a)]
    subtracted = rng.sample(taken, 70) + rng.sample(taken_100, 20)
    yield from ask(SUBTRACTION, subtracted, int.__sub__, rng)
    tables = [(a, b) for a in range(2, 11) for b in range(2, 11)]
    yield from ask(MULTIPLICATION, rng.sample(tables, 60), int.__mul__, rng)
    divided = [(a * b, b) for a in range(2, 11) for b in range(2, 6)]
    yield from ask(DIVISION, rng.sample(divided, 16), int.__floordiv__, rng)


def number_pairs(rng: random.Random) -> Iterator[tuple[str, str]]:
    """Doubles, halves, order, parity, neighbours and numbers in words."""
    doubled = [(a, 2) for a in (*range(2, 13), 15, 20, 25, 30, 40, 50)]
    yield from ask(DOUBLE, doubled, int.__mul__, rng)
    halved = [(2 * a, 2) for a in (*range(1, 11), 15, 20, 25, 30, 40, 50)]
    yield from ask(HALF, halved, int.__floordiv__, rng)
    close = [(a, b) for a in range(2, 31) for b in range(2, 31) if a != b]
    yield from ask(COMPARISON, rng.sample(close, 28), max, rng)
    single = [(a, 0) for a in range(1, 51)]
    yield from ask(PARITY, rng.sample(single, 25), max, rng)
    yield from ask(NEIGHBOUR, rng.sample(single, 21), max, rng)
    yield from ask(IN_WORDS, [(a, 0) for a in rng.sample(range(11, 101), 25)], max, rng)


def sequence_pairs(rng: random.Random) -> Iterator[tuple[str, str]]:
    """Count on from four numbers."""
    for first, step in ((1, 1), (2, 2), (1, 2), (5, 5), (10, 10), (3, 3), (4, 4), (10, -1)):
        terms = [str(first + step * place) for place in range(7)]
        fields: Fields = {"seen": ", ".join(terms[:4]), "next": ", ".join(terms[4:])}
        yield fill(rng.choice(SEQUENCE), fields, rng)


def make_row(question: str, answer: str) -> Row:
    return {
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ],
        "category": "sums",
        "source": "cálculo",
        "author": "templated",
    }


def build_rows(rng: random.Random) -> list[Row]:
    """The templated rows, each question once."""
    pairs = (*operation_pairs(rng), *number_pairs(rng), *sequence_pairs(rng))
    answers: dict[str, str] = {}
    for question, answer in pairs:
        answers.setdefault(question, answer)
    return [make_row(question, answer) for question, answer in answers.items()]


def written_rows(path: Path) -> list[Row]:
    """What a person wrote into the file before."""
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["author"] == "written"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("sums.jsonl"))
    parser.add_argument("--seed", type=int, default=0, help="choice of numbers and wording")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    rows = build_rows(rng) + written_rows(args.out)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    args.out.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
