"""Write capitals.jsonl: capitals, continents and currencies, and the Brazilian states.

Names, capitals, continents and states come from the tables of facts; what no table can tell
(the preposition a country takes, Brazilian spellings, disputed capitals) is kept here.
The wording is in capitals_phrases.py.
"""

import argparse
import csv
import json
import random
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from model.data_sft.capitals_phrases import (
    ABBREVIATION_OF,
    CAPITAL_OF,
    CAPITAL_WHERE,
    CITY_WHERE,
    CONTINENT_OF,
    CURRENCY_OF,
    DEMONYM_OF,
    REGION_OF,
    SPECIAL,
    STATE_CAPITAL_OF,
    STATE_CAPITAL_WHERE,
)

Row = dict[str, object]
Fields = dict[str, str]

COUNTRY_SOURCE = "paises.tsv (CLDR)"
STATE_SOURCE = "estados_brasil.tsv (IBGE)"
GENERAL_SOURCE = "conhecimento geral"

# "of" each country, by ISO code: "da França", "de Portugal"; usage, not a rule, decides.
PREPOSITION = {
    "da": "AL AR AM AU AT BE BG BA BY BO CF CH CN CI CD CG CO CR CZ DE DM DK DO DZ ER ES EE ET FI"
    " FR FM GE GN GM GW GQ GR GT GY HR HU ID IN IE IS IT JM JO KR LR LY LT LV MD MK MN MR MY NA NG"
    " NI NO NZ PG PL KP RO RU SA SO RS SK SI SE SY TH TN TR TZ UA VE ZA ZM",
    "do": "AF AZ BI BJ BH BR BT CA CL DJ EC EG GA GB HT IR IQ JP KZ KE KG KH KW LA LB LK LS MA MX"
    " ML MW NE NP PK PA PE PY QA SD SN SS SR TD TG TJ TM UY UZ VA VN YE ZW",
    "de": "AO AD AG BF BD BZ BB BN BW CM CV CU CY FJ GH GD HN IL KI KN LC LI LU MC MG MT MM ME MZ"
    " NR OM PW PT RW SG SL SV SM ST SZ TL TO TT TV UG VC VU WS",
    "das": "BS KM MV MH MU PH SB SC",
    "dos": "AE NL US",
}
STATE_PREPOSITION = {
    "da": "BA PB",
    "do": "AC AM AP CE DF ES MA PA PI PR RN RS TO",
    "de": "AL GO MG MS MT PE RO RR SC SE",
    "do estado do": "RJ",
    "do estado de": "SP",
}
ARTICLE = {"da": "a", "do": "o", "das": "as", "dos": "os", "de": ""} | {
    "do estado do": "o estado do",
    "do estado de": "o estado de",
}
PLACE = {"da": "na", "do": "no", "das": "nas", "dos": "nos", "de": "em"} | {
    "do estado do": "no estado do",
    "do estado de": "no estado de",
}

# The names and spellings usual in Brazil, where the table has another.
NAME = {"BF": "Burkina Faso", "BH": "Bahrein", "CD": "República Democrática do Congo"} | {
    "CZ": "República Tcheca",
    "KI": "Kiribati",
    "MM": "Mianmar",
    "MU": "Ilhas Maurício",
    "VA": "Vaticano",
}
CAPITAL = {"AD": "Andorra la Vella", "AG": "Saint John's", "BA": "Sarajevo", "BD": "Daca"} | {
    "BT": "Thimphu",
    "GD": "Saint George's",
    "IN": "Nova Délhi",
    "IS": "Reykjavik",
    "KG": "Bishkek",
    "KI": "Tarawa do Sul",
    "MK": "Skopje",
    "NP": "Katmandu",
    "TM": "Ashgabat",
    "US": "Washington",
    "YE": "Sanaa",
}
# No single undisputed capital: SPECIAL or a question about the continent stands in for it.
WITHOUT_CAPITAL = ("BO", "GQ", "IL", "LK", "NR", "SZ", "ZA")
# On two continents, or placed on either.
WITHOUT_CONTINENT = ("AM", "AZ", "BS", "CY", "EG", "GE", "KZ", "RU", "TR")

# How well a country is known in Brazil decides how many questions it gets.
FAME = {
    "best": "AR BO CL CO EC PY PE UY VE US CA MX CU FR ES PT IT DE GB GR RU CN JP IN KR AU EG AO"
    " MZ CV TR SE NO CH BE NL AT PL UA IE",
    "well": "AE AF BG BY CI CR CZ DK DO DZ ET FI GW GY HN HR HT HU ID IQ IR IS JM JO KE KP KW LB"
    " LY MA MG MY MN NG NI NP NZ PA PH PK QA RO RS SA SG SK SN SR ST SY TH TL TN VA VN GT SV GH"
    " LU",
}
N_CAPITAL_QUESTIONS = {"home": (12, 6), "best": (4, 3), "well": (2, 1), "other": (1, 1)}

CURRENCY = {
    "euro": "DE FR IT ES PT AT BE NL IE FI GR",
    "dólar americano": "US EC",
    "peso argentino": "AR",
    "peso chileno": "CL",
    "peso mexicano": "MX",
    "peso uruguaio": "UY",
    "peso colombiano": "CO",
    "real": "BR",
    "iene": "JP",
    "yuan": "CN",
    "boliviano": "BO",
    "guarani": "PY",
    "sol peruano": "PE",
    "bolívar": "VE",
    "franco suíço": "CH",
    "dólar canadense": "CA",
    "dólar australiano": "AU",
    "rublo": "RU",
    "kwanza": "AO",
    "metical": "MZ",
    "rand": "ZA",
    "novo shekel": "IL",
    "zloty": "PL",
}
FEMININE_CURRENCY = {"libra esterlina": "GB", "rupia indiana": "IN", "coroa sueca": "SE"} | {
    "coroa norueguesa": "NO",
    "coroa dinamarquesa": "DK",
    "lira turca": "TR",
    "libra egípcia": "EG",
}


def read_table(path: Path) -> list[Fields]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def by_code(groups: dict[str, str]) -> dict[str, str]:
    """Turn {"da": "FR IT"} into {"FR": "da", "IT": "da"}."""
    return {code: value for value, codes in groups.items() for code in codes.split()}


def forms(preposition: str, name: str) -> Fields:
    """The name after each little word a sentence may need: of it, it, in it."""
    return {
        "d": f"{preposition} {name}",
        "o": f"{ARTICLE[preposition]} {name}".strip(),
        "n": f"{PLACE[preposition]} {name}",
        "fica": "ficam" if preposition in ("das", "dos") else "fica",
    }


def with_initials(fields: Fields) -> Fields:
    """Add each field under its capitalised key, ready to open a sentence."""
    return fields | {key[0].upper() + key[1:]: v[0].upper() + v[1:] for key, v in fields.items()}


def continent_forms(country: Fields) -> Fields:
    """Where the country is; the part of America is said, since people mean that by continent."""
    continent, part = country["continente"], country["sub_regiao"]
    if continent == "América":
        continent = "América Central, no Caribe" if part == "Caribe" else part
    return {"cont": continent, "na": f"na {continent}"}


def country_fields(countries: Iterable[Fields]) -> dict[str, Fields]:
    """What the templates need, by ISO code."""
    prepositions = by_code(PREPOSITION)
    currencies = {code: f"o {name}" for code, name in by_code(CURRENCY).items()}
    currencies |= {code: f"a {name}" for code, name in by_code(FEMININE_CURRENCY).items()}
    found = {}
    for country in countries:
        code = country["iso2"]
        capital = CAPITAL.get(code, country["capital"])
        fields = forms(prepositions[code], NAME.get(code, country["nome"]))
        fields |= continent_forms(country)
        fields["b"] = capital
        fields["c"] = f"a {capital}" if capital.startswith("Cidade") else capital
        if code in currencies:
            fields["oc"] = currencies[code]
        found[code] = with_initials(fields)
    return found


def state_fields(states: Iterable[Fields]) -> dict[str, Fields]:
    """What the templates need, by the state's abbreviation."""
    prepositions = by_code(STATE_PREPOSITION)
    found = {}
    for state in states:
        fields = forms(prepositions[state["uf"]], state["nome"])
        fields |= {"b": state["capital"], "c": state["capital"], "gent": state["gentilico"]}
        if state["capital"] == state["nome"]:
            fields["c"] = f"a cidade{fields['d'].removeprefix('do estado')}"
        found[state["uf"]] = with_initials(fields) | {
            "name": state["nome"],
            "region": state["regiao"],
            "uf": state["uf"],
        }
    return found


def strip_accents(text: str) -> str:
    decomposed = unicodedata.normalize("NFD", text)
    return "".join(char for char in decomposed if unicodedata.category(char) != "Mn")


def type_in_haste(question: str, rng: random.Random) -> str:
    """Lower case, most often without accents."""
    lowered = question.lower()
    return strip_accents(lowered) if rng.random() < 0.7 else lowered


def fill(template: str, fields: Fields, rng: random.Random) -> tuple[str, str]:
    """One question and one of its answers."""
    question, answers = template.split(" => ")
    answer = rng.choice(answers.split(" / ")).format(**fields)
    if question.startswith("~"):
        return type_in_haste(question[1:].format(**fields), rng), answer
    return question.format(**fields), answer


def make_row(turns: Sequence[str], source: str) -> Row:
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns)]
    return {
        "messages": messages,
        "category": "capitals",
        "source": source,
        "author": "templated",
    }


def ask(
    templates: Sequence[str], fields: Fields, count: int, source: str, rng: random.Random
) -> Iterator[Row]:
    """Put `count` different templates to one country or state."""
    for template in rng.sample(templates, count):
        yield make_row(fill(template, fields, rng), source)


def with_capital(level: str) -> list[str]:
    """The countries of that fame whose capital can be asked."""
    return [code for code in FAME[level].split() if code not in WITHOUT_CAPITAL]


def capital_rows(countries: dict[str, Fields], rng: random.Random) -> Iterator[Row]:
    """Both directions for every country with one capital, more for the better known."""
    fame = by_code(FAME) | {"BR": "home"}
    for code, fields in countries.items():
        if code in WITHOUT_CAPITAL:
            yield from ask(CONTINENT_OF, fields, 2, COUNTRY_SOURCE, rng)
            continue
        wrong = rng.choice([known for known in with_capital("best") if known != code])
        asked = fields | {"wrong": countries[wrong]["c"]}
        level = fame.get(code, "other")
        n_forward, n_backward = N_CAPITAL_QUESTIONS[level]
        backward = CAPITAL_WHERE + CITY_WHERE if level in ("home", "best") else CAPITAL_WHERE
        if fields["b"] in fields["d"]:  # Luxembourg, Singapore: only one direction asks anything
            n_forward, n_backward = 2, 0
        yield from ask(CAPITAL_OF, asked, n_forward, COUNTRY_SOURCE, rng)
        yield from ask(backward, asked, n_backward, COUNTRY_SOURCE, rng)


def follow_up_rows(countries: dict[str, Fields], rng: random.Random) -> Iterator[Row]:
    """Two-turn conversations: "E da Itália?" after a first capital."""
    codes = with_capital("best") + with_capital("well")
    for first, second in zip(codes[::4], codes[2::4], strict=False):
        question, answer = fill(rng.choice(CAPITAL_OF[:7]), countries[first], rng)
        follow_up, reply = fill("E {d}? => {C}. / A capital {d} é {c}.", countries[second], rng)
        yield make_row((question, answer, follow_up, reply), COUNTRY_SOURCE)


def world_rows(countries: dict[str, Fields], rng: random.Random) -> Iterator[Row]:
    """Continents of the countries people have heard of, and the currencies in the table above."""
    for code in with_capital("best") + with_capital("well"):
        if code not in WITHOUT_CONTINENT:
            yield from ask(CONTINENT_OF, countries[code], 1, COUNTRY_SOURCE, rng)
    for code, fields in countries.items():
        if "oc" in fields:
            yield from ask(CURRENCY_OF, fields, 2 if code == "BR" else 1, GENERAL_SOURCE, rng)


def state_rows(states: dict[str, Fields], rng: random.Random) -> Iterator[Row]:
    """Capital both ways, region, demonym and abbreviation of each state."""
    regions = sorted({fields["region"] for fields in states.values()})
    for code, fields in states.items():
        if code == "DF":
            continue
        wrong = rng.choice(
            [other["c"] for uf, other in states.items() if uf not in (code, "RJ", "SP")]
        )
        other = rng.choice([region for region in regions if region != fields["region"]])
        asked = fields | {"wrong": wrong, "other": other}
        yield from ask(STATE_CAPITAL_OF, asked, 4, STATE_SOURCE, rng)
        yield from ask(STATE_CAPITAL_WHERE, asked, 2, STATE_SOURCE, rng)
        for templates in (REGION_OF, DEMONYM_OF, ABBREVIATION_OF):
            yield from ask(templates, asked, 2, STATE_SOURCE, rng)


def region_rows(states: dict[str, Fields]) -> Iterator[Row]:
    """The states of each region, counted and listed."""
    for region in sorted({fields["region"] for fields in states.values()}):
        members = [f["name"] for uf, f in states.items() if f["region"] == region and uf != "DF"]
        count = {3: "Três", 4: "Quatro", 7: "Sete", 9: "Nove"}[len(members)]
        listed = f"{', '.join(members[:-1])} e {members[-1]}."
        if region == "Centro-Oeste":
            count += ", além do Distrito Federal"
            listed = f"{', '.join(members)} e o Distrito Federal."
        for question, answer in (
            (f"Quantos estados tem a região {region}?", f"{count}."),
            (f"{region} do Brasil: quantos estados?", f"{count}."),
            (f"Quais são os estados da região {region}?", listed),
            (f"quais estados ficam no {region.lower()}", listed),
        ):
            yield make_row((question, answer), STATE_SOURCE)


def build_rows(facts: Path, rng: random.Random) -> Iterator[Row]:
    countries = country_fields(read_table(facts / "paises.tsv"))
    states = state_fields(read_table(facts / "estados_brasil.tsv"))
    yield from capital_rows(countries, rng)
    yield from follow_up_rows(countries, rng)
    yield from world_rows(countries, rng)
    yield from state_rows(states, rng)
    yield from region_rows(states)
    for pair in SPECIAL:
        yield make_row(pair.split(" => "), GENERAL_SOURCE)


def first_of_each_question(rows: Iterable[Row]) -> list[Row]:
    """Drop a row whose messages up to the last answer were asked before."""
    kept: dict[str, Row] = {}
    for row in rows:
        messages = row["messages"]
        assert isinstance(messages, list)  # make_row put a list there
        kept.setdefault(json.dumps(messages[:-1]), row)
    return list(kept.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facts", type=Path, required=True, help="folder of the fact tables")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("capitals.jsonl"))
    parser.add_argument("--seed", type=int, default=0, help="choice of templates and distractors")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    rows = first_of_each_question(build_rows(args.facts, rng))
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    args.out.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
