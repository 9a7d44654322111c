"""The life of a report: draft, in review, signed, amended; every step is in a chained trail."""

from pathai.report.life.case import Life, open_case

__all__ = ["Life", "open_case"]
