"""Snakemake as ``pathai run`` starts it: it ends with the process that started it."""

import os

from pathai.processes import die_with_parent


def main() -> None:
    """Run Snakemake with the arguments of the command line."""
    parent = os.getppid()
    die_with_parent()
    if os.getppid() != parent:  # it ended before it was asked to take this one along
        raise SystemExit(1)
    from snakemake.cli import main as snakemake

    snakemake()


if __name__ == "__main__":
    main()
