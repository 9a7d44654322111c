"""Where a value of a key belongs: slides of a specimen that its stain suits."""

from collections.abc import Iterator

from pathai.finding import CaseFindings, Specimen, registry


def stains_of(case: CaseFindings) -> dict[str, str]:
    """Stain of each slide, as the sheet has it."""
    return {
        f.evidence[0].slide_id: f.stain for f in case.findings if len(f.evidence) == 1 and f.stain
    }


def suiting(case: CaseFindings, key: str, specimen: Specimen) -> tuple[str, ...]:
    """Slides of a specimen on which ``key`` may have a value."""
    stains, book = stains_of(case), registry()
    return tuple(s for s in specimen.slides if book.stained(key, stains.get(s, "")))


def common_stain(case: CaseFindings, slides: tuple[str, ...]) -> str:
    """The stain that all these slides have; empty where they differ."""
    stains = stains_of(case)
    words = {stains.get(s, "") for s in slides}
    return words.pop() if len(words) == 1 else ""


def whole_places(case: CaseFindings, key: str) -> Iterator[tuple[Specimen, tuple[str, ...]]]:
    """Each specimen with the slides for ``key``: the suiting ones, or all where none suits.

    A key that belongs to a slide has each suiting slide by itself.
    """
    by_slide = registry().find(key).per == "slide"
    for specimen in case.specimens:
        slides = suiting(case, key, specimen)
        if by_slide and slides:
            yield from ((specimen, (slide,)) for slide in slides)
        else:
            yield specimen, slides or specimen.slides
