"""Specimen, side and site: a text may name only those of its own finding."""

import re
from collections.abc import Sequence

from pathai.drafters.base import CITE
from pathai.finding import CaseFindings, Finding, Specimen
from pathai.report.check.form import marked
from pathai.report.check.lexicon import WORD, Lexicon, bare, foreign_sides
from pathai.report.check.printed import term_words
from pathai.report.records import Problem


def specimens_of(finding: Finding, case: CaseFindings) -> tuple[Specimen, ...]:
    """Specimens whose slides a finding stands on."""
    slides = {item.slide_id for item in finding.evidence}
    return tuple(s for s in case.specimens if slides & set(s.slides))


def sides_of(finding: Finding, case: CaseFindings) -> set[str]:
    """The one side of a finding; empty when it has none, or is of the case as a whole."""
    if finding.key.startswith("case."):
        return set()
    sides: set[str] = {finding.laterality}
    sides |= {s.laterality for s in specimens_of(finding, case)}
    return sides - {""} if len(sides - {""}) == 1 else set()


def sites_of(finding: Finding, case: CaseFindings) -> set[str]:
    """Words of the site from which all of a finding's specimens came."""
    sites = {s.site for s in specimens_of(finding, case)}
    return {bare(w) for w in WORD.findall(sites.pop())} if len(sites) == 1 else set()


def place_words(finding: Finding, case: CaseFindings, lexicon: Lexicon) -> set[str]:
    """Words of side and site that are true of this finding."""
    sides = sides_of(finding, case)
    true = {word for word, side in lexicon.sides.items() if side in sides}
    return true | (sites_of(finding, case) & lexicon.sites)


def name_words(finding: Finding, case: CaseFindings) -> set[str]:
    """Words of the ids of a finding's own slides and specimens, and of its case."""
    names = {case.case_id, *(item.slide_id for item in finding.evidence)}
    names |= {s.specimen_id for s in specimens_of(finding, case)}
    return {bare(word) for name in names for word in WORD.findall(name)}


def check_place(
    text: str, spoken: Sequence[str], finding: Finding, case: CaseFindings, lexicon: Lexicon
) -> list[Problem]:
    """Sides and sites must be the specimen's; no other specimen or slide is named."""
    said = {part for word in spoken for part in {bare(word), *bare(word).split("-")}}
    sides = sides_of(finding, case)
    every = foreign_sides()
    if any(every[word] not in sides for word in said & every.keys()):
        return [Problem(code="laterality", message="a side that its specimen does not have")]
    own = sites_of(finding, case)
    own |= {bare(w) for w in WORD.findall(term_words(finding.key, lexicon.language))}
    if (said & lexicon.sites) - own:
        return [Problem(code="site", message="a site that its specimen does not have")]
    return _check_names(text, finding, case)


def _check_names(text: str, finding: Finding, case: CaseFindings) -> list[Problem]:
    """Ids of other specimens and slides, as whole words behind the first."""
    own = {item.slide_id for item in finding.evidence}
    own |= {s.specimen_id for s in specimens_of(finding, case)} | {case.case_id}
    every = {s.specimen_id for s in case.specimens} | {x for s in case.specimens for x in s.slides}
    rest = marked(CITE.sub("", text))[1:]
    for name in every - own - {""}:
        if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", rest):
            return [Problem(code="specimen", message="another specimen or slide is named")]
    letters = set(re.findall(r"(?<![\w'’#-])[A-Z](?![\w'’-])", rest)) - own - {"I"}
    if letters:
        return [Problem(code="specimen", message="a letter that names no specimen of its own")]
    return []
