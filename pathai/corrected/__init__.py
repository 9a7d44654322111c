"""A person's corrections of nuclei and regions, and what the report's numbers become by them.

A case is counted again by the code that counted it first; only what it is counted on differs.
Nothing of the results is changed: what comes out goes into the report's own trail, or becomes
training data.
"""

from pathai.corrected.case import Made, corrected_case, made_case
from pathai.corrected.given import (
    AddedNucleus,
    CellEdit,
    Corrections,
    DrawnRegion,
    SlideCorrections,
)
from pathai.corrected.nuclei import Corrected, corrected_cells, corrected_nuclei

__all__ = [
    "AddedNucleus",
    "CellEdit",
    "Corrected",
    "Corrections",
    "DrawnRegion",
    "Made",
    "SlideCorrections",
    "corrected_case",
    "corrected_cells",
    "corrected_nuclei",
    "made_case",
]
