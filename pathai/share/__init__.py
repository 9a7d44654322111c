"""Share bundles: a case for a tumor board, without names, in one zip that a browser opens."""

from pathai.share.case import Bundle, share_case
from pathai.share.pseudonyms import Pseudonyms
from pathai.share.slides import Wanted
from pathai.share.story import Standing

__all__ = ["Bundle", "Pseudonyms", "Standing", "Wanted", "share_case"]
