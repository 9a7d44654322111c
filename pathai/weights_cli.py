"""The commands of ``pathai weights``: fetch and check weights of published encoders."""

from pathlib import Path
from typing import Annotated

import typer

from pathai.options import ConfigFile, Json

weights_app = typer.Typer(help="Weights of published encoders.", no_args_is_help=True)
Names = Annotated[list[str] | None, typer.Argument(metavar="NAME", help="published encoders")]
WeightsFolder = Annotated[
    Path | None, typer.Option("--folder", help="folder of weights; default: the configuration's")
]


@weights_app.command()
def fetch(
    names: Names = None,
    config: ConfigFile = None,
    folder: WeightsFolder = None,
    revision: Annotated[str, typer.Option(help="commit, tag or branch of one encoder")] = "",
) -> None:
    """Download weights from the Hugging Face hub, check them and pin them."""
    from pathai import verbs

    raise typer.Exit(verbs.fetch_weights(names or [], config, folder, revision))


@weights_app.command("check")
def check_weights(
    names: Names = None,
    config: ConfigFile = None,
    folder: WeightsFolder = None,
    json: Json = False,
) -> None:
    """Read every byte of the weights that are here; say what is missing or damaged."""
    from pathai import verbs

    raise typer.Exit(verbs.check_weights(names or [], config, folder, as_json=json))
