"""Oldest versions of libraries that pathai works with: below them lies a known hole or a gap.

What decodes, loads or renders things of others is held to versions without a published way to
run code or to write beyond memory; ``pathai doctor`` shows all of them, and ``pathai run`` does
not begin below them.
"""

from importlib.metadata import PackageNotFoundError, version

from pathai.errors import PathaiError

FLOORS = {
    "openslide-bin": (4, 0, 1, 1),
    "torch": (2, 10),
    "pillow": (11, 3),
    "pyyaml": (5, 4),
    "jinja2": (3, 1, 6),
    "zarr": (3, 1, 6),
    "snakemake": (9,),
}
"""Oldest versions without a known memory fault, unsafe load or missing feature.

References
----------
CVE-2026-48977 and CVE-2026-54604 (openslide-bin), CVE-2026-24747 (torch), CVE-2025-48379
(pillow), CVE-2020-14343 (pyyaml), CVE-2025-27516 (jinja2).
"""
UNSAFE = ("openslide-bin", "torch", "pillow", "pyyaml", "jinja2")
"""Those whose floor is a matter of security: a run does not begin below it."""


def floor(name: str) -> str:
    """The oldest version of a package, as text."""
    return ".".join(map(str, FLOORS[name]))


def installed(name: str) -> str:
    """The version of a package that is here, empty if it is not; nothing is imported."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def suffices(name: str, found: str) -> bool:
    """Whether a version reaches the floor of its package."""
    numbers = []
    for part in found.split("+")[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:  # 2.10.0rc1 is not yet 2.10
            numbers[-1] -= 1
            break
    wanted = FLOORS[name]
    padded = tuple(numbers) + (0,) * (len(wanted) - len(numbers))
    return bool(numbers) and padded >= wanted


def check_versions() -> None:
    """Refuse to work with a library that is known to be unsafe.

    A package that is absent is left to whoever imports it.

    Raises
    ------
    PathaiError
        E195 naming the packages, their versions and the command that mends it.
    """
    old = {name: found for name in UNSAFE if (found := installed(name))}
    old = {name: found for name, found in old.items() if not suffices(name, found)}
    if old:
        told = ", ".join(f"{name} {found}" for name, found in old.items())
        wanted = " ".join(f"'{name}>={floor(name)}'" for name in old)
        raise PathaiError("E195", f"known to be unsafe: {told}", f"pip install {wanted}")
