"""A de-identified copy of a slide: written anew from keep lists, proven, or not written at all.

``deid`` is the door. The work runs in a child process: the file is not to be trusted.
"""

from pathai.deid.copy import deid
from pathai.deid.report import Report

__all__ = ["Report", "deid"]
