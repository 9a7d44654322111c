"""Synthetic slides with known truth, shipped so that a lab can try pathai on no data."""
