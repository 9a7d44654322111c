"""Where in its life a report is, as far as its documents say so."""

from typing import Literal

from pydantic import model_validator

from pathai.finding import Frozen

Name = Literal["draft", "in_review", "signed", "amended"]


class State(Frozen):
    """What is printed about a report's life on each of its pages.

    ``time`` is the moment of the signature in ISO 8601; ``digest`` is that of the draft that was
    signed; ``reason`` is why a signed report was amended.
    """

    name: Name = "draft"
    signer: str = ""
    role: str = ""
    time: str = ""
    digest: str = ""
    reason: str = ""

    @property
    def watermark(self) -> bool:
        """Whether each page says that this is a draft: everything that nobody signed."""
        return self.name in ("draft", "in_review")

    @model_validator(mode="after")
    def _signed_by_someone(self) -> "State":
        if not self.watermark and not (self.signer and self.time):
            raise ValueError(f"{self.name}: a signature needs a name and a time")
        if self.name == "amended" and not self.reason:
            raise ValueError("an amended report says why")
        return self


DRAFT = State()
