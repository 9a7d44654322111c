"""What each detector is, what it needs and where its weights come from."""

from dataclasses import dataclass
from importlib.util import find_spec

from pathai.errors import PathaiError

HEAD = ("detector", "what it is", "licence", "needs", "weights")


@dataclass(frozen=True)
class Card:
    """Facts of one detector.

    Attributes
    ----------
    name : str
        As in the configuration; ``@`` follows where it needs a file.
    title : str
        What it is.
    licence : str
        Of the published method's code; weights may have another one.
    module, extra : str
        Package that it imports, and the extra of this package that installs it; empty for none.
    weights : str
        Which file it takes, and who has it.
    """

    name: str
    title: str
    licence: str
    module: str = ""
    extra: str = ""
    weights: str = "none"

    @property
    def missing(self) -> bool:
        """Whether its package is not installed; nothing is imported."""
        return bool(self.module) and find_spec(self.module) is None

    @property
    def needs(self) -> str:
        """What has to be installed, and whether it is."""
        if not self.extra:
            return "nothing"
        return f"pathai[{self.extra}]" + (", missing" if self.missing else "")

    def require(self) -> None:
        """Refuse to go on without its package (E194)."""
        if self.missing:
            message = f"detector {self.name} needs {self.module}, which is not installed"
            raise PathaiError("E194", message, f"pip install 'pathai[{self.extra}]'")


CARDS = {
    card.name: card
    for card in (
        Card("classical", "color deconvolution, blobs, watershed", "Apache-2.0"),
        Card(
            "cellpose",
            "Cellpose 4, flows of a transformer",
            "BSD-3-Clause",
            module="cellpose",
            extra="cellpose",
            weights="FILE of Cellpose (cpsam); ask for the licence of its training data",
        ),
        Card(
            "instanseg",
            "InstanSeg, label map of nuclei",
            "Apache-2.0",
            weights="instanseg.pt of a release of instanseg/instanseg on GitHub",
        ),
        Card(
            "nuclei-small",
            "small network trained by this project",
            "Apache-2.0",
            weights="in the package; or FOLDER of pathai train-detector",
        ),
        Card(
            "onnx",
            "any ONNX network by its contract",
            "of the file",
            module="onnxruntime",
            extra="onnx",
            weights="FILE.onnx, FILE.json",
        ),
        Card(
            "stardist",
            "StarDist, star-convex polygons",
            "BSD-3-Clause",
            weights="FOLDER of a model, with its network exported to ONNX or TorchScript",
        ),
        Card(
            "torchscript",
            "any TorchScript network by its contract",
            "of the file",
            weights="FILE.pt, FILE.json",
        ),
    )
}
"""By name; one from an outside package has none."""


def row(name: str) -> tuple[str, ...]:
    """Cells of a detector, in the order of `HEAD`."""
    card = CARDS.get(name)
    if card is None:
        return (name, "of another package", "", "", "")
    return (name, card.title, card.licence, card.needs, card.weights)
