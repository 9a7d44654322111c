"""The cohort's figures as MultiQC reads them: ``cohort/multiqc/*_mqc.json``.

``multiqc results/cohort/multiqc`` makes a report of them, alone or with those of other pipelines;
a sample is a slide. What was not measured has no cell, and is never a zero.

References
----------
Ewels P, Magnusson M, Lundin S, Käller M. MultiQC: summarize analysis results for multiple tools
and samples in a single report. Bioinformatics 32(19):3047-3048, 2016.
doi:10.1093/bioinformatics/btw354
"""

from collections.abc import Iterable, Sequence
from typing import Any

from pathai.cohort.gather import Outcome, SlideRow
from pathai.plan import Model
from pathai.store.records import PredictionAttrs

Cells = dict[str, float | str]
Columns = dict[str, dict[str, Any]]
NOTE = "Research use only."
AREAS = {
    "tissue": "#4477aa",
    "pen": "#ccbb44",
    "dark": "#222222",
    "unreadable": "#ee6677",
    "edge": "#228833",
    "blur": "#66ccee",
    "fold": "#aa3377",
    "bubble": "#bbbbbb",
}
"""Classes of the tissue map in the order of the bars; colors that color-blind readers can tell."""


def sections(
    rows: Sequence[SlideRow], outcomes: Iterable[Outcome], models: Sequence[Model]
) -> dict[str, dict[str, Any]]:
    """Every section of the report, by the name of its file; one without a row is left out.

    Parameters
    ----------
    rows : sequence of SlideRow
        The slides of the sheet.
    outcomes : iterable of Outcome
        Problems of slides, models and cases.
    models : sequence of Model
        What was asked.
    """
    made = [_general(rows), _areas(rows), _cells(rows), _problems(outcomes)]
    made += [_answers(rows, model) for model in models]
    return {f"{one['id']}_mqc.json": one for one in made if one["data"]}


def _section(name: str, title: str, about: str, plot: str, **more: Any) -> dict[str, Any]:
    return {
        "id": f"pathai_{name}",
        "section_name": title,
        "description": f"{about} {NOTE}",
        "plot_type": plot,
        **more,
    }


def _general(rows: Sequence[SlideRow]) -> dict[str, Any]:
    """A line per slide on top of the report."""
    columns: Columns = {
        "status": {"title": "Status", "description": "worst of its stages"},
        "tissue_mm2": {"title": "Tissue", "suffix": " mm²", "format": "{:,.2f}", "min": 0},
        "focus_um": {"title": "Focus", "description": "width of edges", "suffix": " µm", "min": 0},
        "nuclei": {"title": "Nuclei", "format": "{:,.0f}", "min": 0},
        "nuclei_per_mm2": {"title": "Nuclei/mm²", "format": "{:,.0f}", "min": 0},
        "mpp": {"title": "µm/px", "format": "{:,.4f}", "min": 0, "hidden": True},
    }
    data: dict[str, Cells] = {}
    for row in rows:
        cells: Cells = {"status": row.status}
        if row.tissue_mm2 is not None:
            cells["tissue_mm2"] = row.tissue_mm2
        if row.qc is not None and row.qc.focus_um is not None:
            cells["focus_um"] = row.qc.focus_um
        if row.cells is not None:
            cells["nuclei"] = row.cells.count.value
            cells["nuclei_per_mm2"] = row.cells.density_per_mm2.value
        if row.info is not None:
            cells["mpp"] = row.info.mpp_x
        data[row.row.slide_id] = cells
    headers = [
        {name: {"namespace": "pathai", "placement": place, **column}}
        for place, (name, column) in enumerate(columns.items())
    ]
    about = "Whole slides: quality and counts."
    return _section("general", "pathai", about, "generalstats", pconfig=headers, data=data)


def _areas(rows: Sequence[SlideRow]) -> dict[str, Any]:
    data = {
        row.row.slide_id: {name: row.areas_mm2[name] for name in AREAS if row.areas_mm2.get(name)}
        for row in rows
        if row.areas_mm2
    }
    config = {
        "id": "pathai_areas_plot",
        "title": "pathai: area of each class of the tissue map",
        "ylab": "mm²",
        "cpswitch_counts_label": "mm²",
    }
    groups = {name: {"name": name, "color": color} for name, color in AREAS.items()}
    about = "What of a slide is tissue, and what was left out of the analysis."
    return _section(
        "areas", "Tissue and artefacts", about, "bargraph", pconfig=config, categories=groups,
        data=data,
    )  # fmt: skip


def _cells(rows: Sequence[SlideRow]) -> dict[str, Any]:
    data: dict[str, Cells] = {}
    for row in rows:
        if row.cells is None:
            continue
        count, density = row.cells.count, row.cells.density_per_mm2
        cells: Cells = {
            "detector": row.cells.detector,
            "nuclei": count.value,
            "interval": f"{count.low:.0f} to {count.high:.0f}",
            "level": f"{count.level:.0%}",
            "per_mm2": density.value,
            "per_mm2_interval": f"{density.low:.0f} to {density.high:.0f}",
            "analyzed_mm2": row.cells.analyzed_mm2,
        }
        named = zip(row.cells.classes, row.cells.class_counts, strict=True)
        cells |= {f"class_{name}": number for name, number in named}
        data[row.row.slide_id] = cells
    about = "Counts of nuclei with their intervals, which cover what each slide's page says."
    return _table("cells", "Nuclei", about, data)


def _answers(rows: Sequence[SlideRow], model: Model) -> dict[str, Any]:
    data = {
        row.row.slide_id: _answer(model.name, row.answers[model.name])
        for row in rows
        if model.name in row.answers
    }
    about = f"{model.task.question} A set holds every answer that cannot be ruled out."
    return _table(f"predict_{model.name}", f"Prediction: {model.name}", about, data)


def _answer(name: str, attrs: PredictionAttrs) -> Cells:
    """MultiQC paints a bare "no" red and a bare "yes" green, which no diagnosis may be."""
    cells: Cells = {
        "given": "withheld" if attrs.abstained else "given",
        "unlike_training_percentile": attrs.ood_percentile,
    }
    if attrs.abstained:
        return cells | {"reason": attrs.reason}
    if attrs.label:
        chances = dict(zip(attrs.classes, attrs.prob, strict=False))
        cells |= {"answer": f"{name}: {attrs.label}", "set": f"{{{', '.join(attrs.set)}}}"}
        cells |= {"probability": chances[attrs.label]} if attrs.label in chances else {}
    if attrs.value is not None:
        cells |= {"value": attrs.value, "unit": attrs.unit_of_value}
    if attrs.low is not None and attrs.high is not None:
        cells["interval"] = f"{attrs.low:.6g} to {attrs.high:.6g}"
    return cells


def _problems(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    data: dict[str, Cells] = {}
    for number, one in enumerate(outcomes, start=1):
        data[f"{number:04d}"] = {
            "slide": one.slide_id or "none",
            "stage": one.problem.stage,
            "status": one.status,
            "code": one.problem.code,
            "message": one.problem.message,
            "remedy": one.problem.remedy,
        }
    about = "What went wrong, and what to do."
    return _table("problems", "Problems", about, data)


def _table(name: str, title: str, about: str, data: dict[str, Cells]) -> dict[str, Any]:
    columns = dict.fromkeys(column for cells in data.values() for column in cells)
    headers = {
        column: {"title": column.replace("_", " "), "placement": place, **_format(data, column)}
        for place, column in enumerate(columns)
    }
    config = {
        "id": f"pathai_{name}_table",
        "title": f"pathai: {title}",
        "namespace": "pathai",
        "no_violin": True,
    }
    return _section(name, title, about, "table", pconfig=config, headers=headers, data=data)


def _format(data: dict[str, Cells], column: str) -> dict[str, str]:
    """Whole numbers without decimals, others with four digits, texts as they are."""
    values = [cells[column] for cells in data.values() if column in cells]
    if any(isinstance(value, str) for value in values):
        return {}
    return {"format": "{:,.0f}" if all(float(v).is_integer() for v in values) else "{:,.4g}"}
