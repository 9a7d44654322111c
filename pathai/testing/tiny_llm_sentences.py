"""What the tiny model is trained to say: random lines of a plan, and good answers to them."""

import json
import random
from collections.abc import Iterator, Sequence

from pathai import knowledge
from pathai.drafters.base import Line, prompt
from pathai.finding import registry

CITED = 0.5
USER, ANSWER, END = "<|user|>", "<|answer|>", "<|end|>"
NAMES = ("tumor", "msi", "er", "her", "grade", "subtype", "negative", "positive", "lymphocyte")
SENTENCES = {
    "en": {
        "measured": ("The {T} is {F}.", "The {T} was measured as {F}.", "{T} in this record: {F}."),
        "observed": ("The {T} was entered as {F}.",),
        "predicted": ("{P} for {T}: {F}.", "The {P} for the {T} is {F}."),
        "indeterminate": ("The {T} remains {F}.",),
        "not_detected": ("The {T} was {F}.",),
        "not_assessed": ("The {T} was {F}.",),
        "failed": ("The {T} was {F}.",),
    },
    "fr": {
        "measured": ("{T} : {F}.",),
        "observed": ("{T}, valeur saisie : {F}.",),
        "predicted": ("{P} pour {T} : {F}.",),
        "indeterminate": ("{T} : {F}.",),
        "not_detected": ("{T} : {F}.",),
        "not_assessed": ("{T} : {F}.",),
        "failed": ("{T} : {F}.",),
    },
    "es": {
        "measured": ("{T}: {F}.",),
        "observed": ("{T}, valor introducido: {F}.",),
        "predicted": ("{P} para {T}: {F}.",),
        "indeterminate": ("{T}: {F}.",),
        "not_detected": ("{T}: {F}.",),
        "not_assessed": ("{T}: {F}.",),
        "failed": ("{T}: {F}.",),
    },
}


def lines_of(rng: random.Random, count: int) -> list[Line]:
    """Random lines of a plan, from the registry's keys and the knowledge corpus."""
    book, corpus = registry(), sorted(knowledge.corpus())
    start, first = rng.randint(1, 40), rng.randint(1, 40)
    language = rng.choice(("en", "en", "fr", "es"))
    lines = []
    for number in range(count):
        key = rng.choice(sorted(book.keys)).replace("*", rng.choice(NAMES))
        row = book.find(key)
        line = Line(
            statement=f"S{start + number}",
            finding=f"F{first + number}",
            key=key,
            name=row.name,
            unit=book.units[row.unit],
            status=rng.choice(row.statuses),
            language=language,
            cites=tuple(rng.sample(corpus, rng.choice((1, 1, 2)))) if rng.random() < CITED else (),
        )
        lines.append(line)
    return lines


def answer_of(rng: random.Random, lines: Sequence[Line]) -> str:
    """The answer that the model is trained to give for ``lines``."""
    statements = []
    for line in lines:
        text = rng.choice(SENTENCES[line.language][line.status])
        if line.cites:
            text = f"{text[:-1]} {{K:{line.cites[0]}}}."
        text = text.replace("{T}", f"{{T:{line.key}}}").replace("{P}", "{T:predicted}")
        text = text.replace("{F}", f"{{{line.finding}}}")
        statements.append(
            {"id": line.statement, "finding": line.finding, "key": line.key, "text": text}
        )
    return json.dumps({"statements": statements}, separators=(",", ":"))


def examples(seed: int) -> Iterator[tuple[str, str]]:
    """Endless questions and answers of the training, drawn from the seed alone."""
    rng = random.Random(seed)  # noqa: S311
    while True:
        lines = lines_of(rng, rng.choice((1, 2, 2, 3, 4, 6)))
        yield f"{USER}{prompt(lines)}{ANSWER}", answer_of(rng, lines) + END
