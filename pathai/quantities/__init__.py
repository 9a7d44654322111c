"""Quantities of a slide's nuclei, each with its denominator and its interval.

Pure functions of positions, classes and the tissue map; nothing here reads a file, loads torch or
knows a detector. `pathai.quantities.summary.summarize` puts them together.
"""
