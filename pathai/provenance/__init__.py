"""What a run did, as data for others, and how two runs differ."""

from pathai.provenance.crate import CRATE, crate, write_crate

__all__ = ["CRATE", "crate", "write_crate"]
