"""Whole-slide images to counted cells, predictions and a draft report. Research use only."""

__version__ = "0.1.0"
