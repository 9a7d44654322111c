"""The model that gives a slide's nuclei their classes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathai.cell_classes import STAINS, ClassModel, classify, model_file, open_model
from pathai.config import CellsConfig
from pathai.quantities.shares import ClassError
from pathai.store.records import CellClassifier


@dataclass(frozen=True)
class Classes:
    """A class model as stage `cells` uses it.

    Attributes
    ----------
    name : str
        As configured.
    model : ClassModel
    """

    name: str
    model: ClassModel

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.model.classes

    @property
    def class_error(self) -> ClassError:
        """How often it confuses classes."""
        rows = tuple(tuple(row) for row in self.model.confusion.tolist())
        source = "held-back cells of the class model"
        return ClassError(self.classes, rows, source, self.model.design_effect)

    @property
    def record(self) -> CellClassifier:
        """What of it stands beside the cells that it classified."""
        return CellClassifier(
            name=self.name,
            digest=self.model.digest,
            experimental=self.model.experimental,
            confusion=self.class_error.confusion,
            design_effect=self.model.design_effect,
        )

    def __call__(
        self, xy_um: NDArray[np.float64], measures: NDArray[np.float32]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Class and probabilities; see `pathai.cell_classes.classify`."""
        return classify(xy_um, measures, self.model)


def chosen(section: CellsConfig, stain: str, classes: tuple[str, ...]) -> Classes | None:
    """The configured model, where it applies: on H&E, and where the detector tells no classes.

    Raises
    ------
    PathaiError
        E182 or E183 for a model that is damaged or missing.
    """
    if not section.classifier:
        return None
    model_file(section.classifier)
    if stain not in STAINS or len(classes) > 1:
        return None
    return Classes(section.classifier, open_model(section.classifier, stain))
