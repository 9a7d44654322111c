"""Build hook: the viewer library of ``pathai share`` is fetched into the package's data."""

import importlib.util
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class OpenSeadragon(BuildHookInterface[Any]):
    """Fetches a pinned package, checks it, and lets the build go on without it.

    A machine without network can still install pathai; ``pathai share`` then says what to do.
    """

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Run before anything is packed, for editable installs, too."""
        path = Path(self.root) / "envs" / "openseadragon.py"
        spec = importlib.util.spec_from_file_location("openseadragon_fetch", path)
        if spec is None or spec.loader is None:
            self.app.display_warning("envs/openseadragon.py is missing: pathai share will not work")
            return
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        try:
            module.bring(Path(self.root) / "pathai" / "share" / "vendor")
        except (OSError, ValueError) as error:
            self.app.display_warning(f"pathai share will not work: {error}")
