"""Plug-ins by name, imported only when used."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from pathai.errors import PathaiError


class Registry(Mapping[str, str]):
    """Names to ``"module:attribute"`` targets, with entry points from outside packages.

    Parameters
    ----------
    kind : str
        Plural noun for messages, e.g. ``"encoders"``.
    targets : dict
        Built-in names, lower-case with dashes.

    Raises
    ------
    PathaiError
        E191 if a name is unknown (the nearest names are given) or registered twice.
    """

    def __init__(self, kind: str, targets: dict[str, str]) -> None:
        self.kind = kind
        self._builtin = dict(targets)
        self._outside: dict[str, str] | None = None

    @property
    def _targets(self) -> dict[str, str]:
        if self._outside is None:
            found: dict[str, str] = {}
            for point in entry_points(group=f"pathai.{self.kind}"):
                if point.name in self._builtin or point.name in found:
                    raise PathaiError("E191", f"{self.kind}: {point.name} is registered twice")
                found[point.name] = point.value
            self._outside = found
        return {**self._builtin, **self._outside}

    def __getitem__(self, name: str) -> str:
        targets = self._targets
        if name not in targets:
            near = get_close_matches(name, targets) or sorted(targets)
            raise PathaiError(
                "E191", f"no {self.kind.rstrip('s')} named {name!r}", f"try {', '.join(near)}"
            )
        return targets[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._targets))

    def __len__(self) -> int:
        return len(self._targets)

    def load(self, name: str) -> Any:
        """Import and return what ``name`` stands for."""
        module, _, attribute = self[name].partition(":")
        return getattr(import_module(module), attribute)

    def names(self) -> list[str]:
        """All names, sorted; nothing is imported."""
        return list(self)
