"""Counts of nuclei; they live with the other quantities, `pathai.quantities`."""

from pathai.quantities.counting import COVERS, count_interval, per_mm2
from pathai.quantities.squares import SQUARE_UM, map_pixel, square_counts

__all__ = ["COVERS", "SQUARE_UM", "count_interval", "map_pixel", "per_mm2", "square_counts"]
