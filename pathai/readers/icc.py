"""What is recorded of a color profile: its fingerprint, size and kind, none of its text.

References
----------
ICC.1:2022, section 7.2: the 128 bytes of the profile header.
"""

from hashlib import sha256

from pathai.store.records import IccProfile

_CLASSES = {b"scnr": "scanner", b"mntr": "display", b"prtr": "printer", b"spac": "color space"}
_SPACES = {b"RGB ": "RGB", b"GRAY": "gray", b"CMYK": "CMYK", b"Lab ": "Lab", b"XYZ ": "XYZ"}
_NAMES = ("sRGB", "Adobe RGB", "Display P3", "ProPhoto", "Aperio", "ScanScope", "Hamamatsu",
          "Leica", "Philips", "Ventana", "3DHISTECH")  # fmt: skip
"""Words of a description that are repeated; any other text of the profile is not."""


def icc_profile(data: bytes) -> IccProfile | None:
    """Describe a profile; None where there is none.

    Parameters
    ----------
    data : bytes
        The profile as it stands in the file.

    Returns
    -------
    IccProfile or None
        ``kind`` is built from the header's codes and from known names alone.
    """
    if not data:
        return None
    kind = f"{_CLASSES.get(data[12:16], 'other')} {_SPACES.get(data[16:20], 'other')}"
    if len(data) < 128 or data[36:40] != b"acsp":
        kind = "not a valid profile"
    text = data.replace(b"\0", b"")  # descriptions are ASCII or UTF-16
    named = next((name for name in _NAMES if name.encode() in text), "")
    return IccProfile(sha256=sha256(data).hexdigest(), bytes=len(data), kind=kind, named=named)
