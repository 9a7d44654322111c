"""Options that several commands share, with their words of help."""

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[Path | None, typer.Option("--config", help="configuration of a run")]
Batch = Annotated[str, typer.Option("--batch", help="a batch of the run", hidden=True)]
Folders = Annotated[list[Path] | None, typer.Argument(metavar="DIR", help="slide folders")]
Json = Annotated[bool, typer.Option("--json", help="print JSON to stdout")]
