"""Plan, phrase, check, fall back, render: findings in, an unsigned draft out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from pathai.config import ReportConfig
from pathai.drafters import DRAFTERS
from pathai.drafters.base import CITE, Drafter, Line, Phrasing
from pathai.errors import PathaiError
from pathai.finding import CaseFindings, load_findings
from pathai.knowledge import Reference, references
from pathai.knowledge.documents import Shelf
from pathai.language import Language, catalog
from pathai.layouts import load_layout
from pathai.report import check, render
from pathai.report.fixed import fixed_of
from pathai.report.plan import plan
from pathai.report.records import (
    Draft,
    Fixed,
    PlannedSection,
    Section,
    Statement,
    Verification,
)
from pathai.store.commit import Commit
from pathai.store.folders import CaseFolder
from pathai.store.manifest import canonical as canonical_file

VALUED = ("measured", "observed", "predicted")


def draft(case: CaseFindings, section: ReportConfig, drafter: Drafter | None = None) -> Draft:
    """Draft the report of a case.

    Parameters
    ----------
    case : CaseFindings
        Sealed findings; the only source of numbers.
    section : ReportConfig
        Layout, language, drafter and, for a language model, its address.
    drafter : Drafter, optional
        Used instead of the configured one.

    Raises
    ------
    PathaiError
        E190, E191 or E201 when the configured drafter must not be used; E209 for a wrong layout;
        E203 when even the catalog's sentences do not stand on the findings (a defect of it).
    """
    engine = drafter or DRAFTERS.load(section.drafter)(section)
    safe = DRAFTERS.load("template")(section)
    layout, language = load_layout(section.template), section.language
    planned = plan(case, layout, language)
    lines = [line for part in planned for line in part.lines]
    phrasing = engine.phrase(lines)
    fallback = safe.plain(lines)
    source = "template" if engine.engine.name == "template" else "llm"
    counts: Counter[str] = Counter()
    said = {
        line.statement: _statement(line, text, str(default), source, case, counts)
        for line, text, default in zip(lines, _padded(phrasing, lines), fallback, strict=True)
    }
    sections = tuple(_section(part, said, case, language) for part in planned)
    fell = sum(s.verdict == "fallback" for s in said.values())
    result = Draft(
        case_id=case.case_id,
        findings_digest=case.sha256(),
        watermark=catalog(language).phrase("watermark"),
        language=language,
        revision=case.revision,
        template=layout.name,
        layout=layout,
        engine=engine.engine,
        engine_flags=phrasing.flags,
        prompt_sha256=phrasing.prompt_sha256,
        raw_sha256=phrasing.raw_sha256,
        sections=sections,
        fixed=(*fixed_of(case, language), *_references(lines, said, section)),
        verification=Verification(
            statements=len(said),
            accepted=len(said) - fell,
            fallback=fell,
            problems=dict(sorted(counts.items())),
        ),
    )
    sealed = result.model_copy(update={"digest": check.digest_of(result)})
    check.require(sealed, case)
    return sealed


def _section(
    part: PlannedSection, said: Mapping[str, Statement], case: CaseFindings, language: Language
) -> Section:
    return Section(
        id=part.id,
        title=render.title_text(part, language),
        slide_id=part.slide_id,
        notes=render.slide_note_texts(part, case, language),
        statements=tuple(said[line.statement] for line in part.lines),
        briefs=render.briefs(part, case, language),
    )


def _references(
    lines: Sequence[Line], said: Mapping[str, Statement], section: ReportConfig
) -> tuple[Fixed, ...]:
    """Definitions of values, where the lab's documents speak of them, and all that is cited."""
    shelf = Shelf([Path(folder) for folder in section.knowledge])
    found: dict[Reference, list[str]] = {}
    for line in lines:
        valued = line.status in VALUED
        passage = shelf.on(line.name) if valued else None
        passages = [passage.reference()] if passage else []
        cited = line.cites if valued else CITE.findall(said[line.statement].text)
        for one in (*references(cited, section.language), *passages):
            found.setdefault(one, []).append(line.finding)
    return tuple(
        Fixed(kind="reference", id=r.id, text=r.text, findings=tuple(on), source=r.source)
        for r, on in found.items()
    )


def _padded(phrasing: Phrasing, lines: Sequence[Line]) -> list[str | None]:
    """As many texts as lines, whatever a drafter gave."""
    texts = list(phrasing.texts[: len(lines)])
    return texts + [None] * (len(lines) - len(texts))


def _statement(
    line: Line,
    text: str | None,
    default: str,
    source: str,
    case: CaseFindings,
    counts: Counter[str],
) -> Statement:
    """The drafter's sentence if it passes, else the template's with a flag."""
    finding = case.finding(line.finding)
    notes = render.note_texts(finding, line.language) if finding else ()
    problems = ["no_text"] if text is None else [p.code for p in check.check_text(text, line, case)]
    counts.update(problems)
    chosen = default if problems or text is None else text
    refused = sha256(text.encode("utf-8", "replace")).hexdigest() if problems and text else ""
    return Statement(
        id=line.statement,
        finding=line.finding,
        text=chosen,
        rendered=render.render_text(chosen, case, line.language),
        notes=notes,
        source="template" if problems or source == "template" else "llm",
        verdict="fallback" if problems else "pass",
        flags=tuple(problems),
        refused=refused,
    )


def run(
    folder: CaseFolder,
    section: ReportConfig,
    out: Commit,
    sources: Mapping[str, Path] | None = None,
) -> None:
    """Write ``draft.json`` of a case and its documents, all printed from it.

    Parameters
    ----------
    folder : CaseFolder
        Holds ``findings.json``; the pictures come from the results of its slides.
    section : ReportConfig
        Options.
    out : Commit
        Receives the files.
    sources : mapping of str to Path, optional
        Files of the case's slides by slide id; those in DICOM make the structured report.
    """
    from pathai.report import documents
    from pathai.report.fhir import fhir

    case = load_findings(folder.findings.read_text("utf-8"))
    made = draft(case, section)
    evidence = documents.pictures(case, folder.slide)
    out.part("draft.json").write_bytes(canonical_file(made.model_dump(mode="json")))
    out.part("draft.md").write_text(documents.markdown(made, case), "utf-8")
    page = documents.html(made, case, documents.DRAFT, evidence)
    out.part("draft.html").write_text(page, "utf-8")
    out.part("draft.docx").write_bytes(documents.docx(made, case, documents.DRAFT, evidence))
    out.part("draft.pdf").write_bytes(documents.pdf(made, case, documents.DRAFT, evidence))
    out.part("fhir.json").write_bytes(canonical_file(fhir(made, case, snomed=section.codes.snomed)))
    _structured(folder, case, sources or {}, out)


def _structured(
    folder: CaseFolder, case: CaseFindings, sources: Mapping[str, Path], out: Commit
) -> None:
    """A DICOM structured report where a slide is DICOM; one that is out of reach makes none."""
    from pathai.dicom.measurements import sources_of, write_measurements

    try:
        found = sources_of(case, folder, sources)
    except PathaiError as error:  # the slide's file is away or replaced; the draft goes on
        out.degrade(error.code, f"no sr.dcm: {error.message}", error.remedy)
        return
    if found:
        write_measurements(out.part("sr.dcm"), case, found, render.value_text)
