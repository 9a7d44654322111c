"""Layouts: which finding of a case stands where in its report, as files.

A laboratory gives the path of its own file, for example one that follows a checklist that it has
licensed; none of those texts is part of pathai.
"""

from pathai.layouts.choice import chosen
from pathai.layouts.layout import Layout, LayoutSection, load_layout, names

__all__ = ["Layout", "LayoutSection", "chosen", "load_layout", "names"]
