"""Detectors: from pixels to nuclei with class, outline and stain intensity."""

from pathai.registry import Registry

DETECTORS = Registry("detectors", {"classical": "pathai.detectors.classical:Classical"})
"""Called with ``stain=`` and ``dab_cutoff_od=``; ``docs/adding.md`` says how to add one."""
