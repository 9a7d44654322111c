"""What a file is, from its first bytes and its own tables, before any library opens it."""

import os
import re
import stat
from pathlib import Path

from pathai.config import IngestConfig
from pathai.errors import PathaiError
from pathai.readers.dicom_series import check_series, series_of
from pathai.readers.slide_files import mirax_names
from pathai.readers.tiff_walk import Directory, walk
from pathai.source import Place, Remote
from pathai.units import Size

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_FOREIGN = (
    (b"PK\x03\x04", "a ZIP archive", "unpack it and give the slide inside"),
    (b"\x1f\x8b", "a gzip archive", "unpack it and give the slide inside"),
    (b"BZh", "a bzip2 archive", "unpack it and give the slide inside"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it and give the slide inside"),
    (b"Rar!", "a RAR archive", "unpack it and give the slide inside"),
    (b"version https://git-lfs", "a Git LFS pointer", "run git lfs pull, then try again"),
    (b"%PDF", "a PDF document", ""),
    (b"\x89PNG", "a PNG picture", "give the slide itself, with its µm per pixel"),
    (b"\xff\xd8\xff", "a JPEG picture", "give the slide itself, with its µm per pixel"),
    (b"\x89HDF", "an HDF5 file", ""),
)
CODECS = {1: "none", 5: "LZW", 7: "JPEG", 8: "deflate", 32946: "deflate", 33003: "JPEG 2000",
          33005: "JPEG 2000", 34712: "JPEG 2000", 50000: "zstd", 50001: "WebP"}  # fmt: skip
"""TIFF compressions that may reach a decoder."""
_NAMES = {6: "old-style JPEG", 22610: "JPEG XR", 34925: "LZMA", 32909: "PixarLog", 34887: "LERC"}
_RGB, _YCBCR = 2, 6


def sniff(path: Place, limits: IngestConfig) -> str:
    """Examine a file.

    Parameters
    ----------
    path : Path or Remote
        What the sheet names.
    limits : IngestConfig
        Sizes beyond which a file is refused.

    Returns
    -------
    str
        ``tiff``, ``ome-tiff``, ``dicom``, ``mirax``, ``zeiss``, ``vms`` or ``sakura``.

    Raises
    ------
    PathaiError
        E101-E105, E110, E114-E119, E135-E137, E140, E141: what is wrong and what to do.
    """
    size = _remote(path) if isinstance(path, Remote) else _regular(path)
    try:
        with path.open("rb") as file:
            head = file.read(1024)
            if head[:4] in TIFF_MAGIC and path.suffix.lower() != ".vsi":
                images = walk(file, size, limits.max_directories)
                _check_tiff(images, size, limits)
                return "ome-tiff" if images[0].ome else "tiff"
    except PermissionError:
        raise PathaiError("E105", "the file may not be read by this user") from None
    except OSError as error:
        raise PathaiError("E162", f"reading failed: {error.strerror}") from None
    if isinstance(path, Remote):
        if path.suffix.lower() in (".vsi", ".mrxs", ".dcm", ".czi", ".vms", ".vmu", ".svslide"):
            raise PathaiError("E107", "only slides in one TIFF file are read from a server")
        raise _foreign(head)
    if path.suffix.lower() == ".vsi":
        raise _vsi(path)
    if head[128:132] == b"DICM":
        check_series(series_of(path), limits)
        return "dicom"
    if path.suffix.lower() == ".mrxs":
        _check_mirax(path)
        return "mirax"
    if head.startswith(b"ZISRAWFILE"):
        return "zeiss"
    if head.startswith(b"SQLite format 3\0"):
        return "sakura"
    if path.suffix.lower() in (".vms", ".vmu") and head.startswith(b"["):
        return "vms"
    raise _foreign(head)


def _remote(path: Remote) -> int:
    """Size of a non-empty object."""
    size = path.look()["size"]
    if size == 0:
        raise PathaiError("E101", "the file has 0 bytes")
    return size


def largest_tiled(path: Place, limits: IngestConfig) -> Size:
    """Size of the tiled image with most pixels, of a TIFF that `sniff` has accepted."""
    with path.open("rb") as file:
        images = walk(file, file.seek(0, os.SEEK_END), limits.max_directories)
    sizes = [Size(one.width, one.height) for one in images if one.tiled]
    return max(sizes, key=lambda size: size.width * size.height, default=Size(0, 0))


def _regular(path: Path) -> int:
    """Size of a non-empty regular file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise PathaiError("E102", "the file does not exist") from None
    except PermissionError:
        raise PathaiError("E105", "its folder may not be read by this user") from None
    except (OSError, ValueError) as error:
        raise PathaiError("E102", f"the path is not usable: {_reason(error)}") from None
    if stat.S_ISDIR(status.st_mode):
        with os.scandir(path) as entries:
            dicom = any(entry.name.lower().endswith(".dcm") for entry in entries)
        remedy = "give one .dcm file of the folder" if dicom else ""
        raise PathaiError("E103", "the path is a folder, not a slide file", remedy)
    if not stat.S_ISREG(status.st_mode):
        raise PathaiError("E104", "the path is a device or pipe, not a file")
    if status.st_size == 0:
        raise PathaiError("E101", "the file has 0 bytes")
    return status.st_size


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror or "unknown") if isinstance(error, OSError) else "it holds a NUL"


def _foreign(head: bytes) -> PathaiError:
    for magic, name, remedy in _FOREIGN:
        if head.startswith(magic):
            return PathaiError("E104", f"not a slide but {name}", remedy)
    if all(byte in b"\t\r\n\f" or byte >= 32 for byte in head[:512]):
        return PathaiError("E104", "not a slide but text")  # which may name a patient
    return PathaiError("E104", f"not a slide: first bytes {head[:4].hex(' ')}")


def _vsi(path: Path) -> PathaiError:
    folder = path.with_name(f"_{path.stem}_")
    if not folder.is_dir():
        message = "the .vsi file is only the header: the folder with the pixels is missing"
        remedy = "export the slide as OME-TIFF; a .vsi cannot be read without its _NAME_ folder"
        return PathaiError("E135", message, remedy)
    return PathaiError("E104", "Olympus .vsi pixels cannot be read", "export it as OME-TIFF")


def _check_mirax(path: Path) -> None:
    folder = path.with_suffix("")
    if not folder.is_dir():
        message = "the MIRAX data folder of the same name beside the .mrxs file is missing"
        raise PathaiError("E135", message)
    index = folder / "Slidedat.ini"
    if not index.is_file():
        raise PathaiError("E135", "Slidedat.ini is missing in the MIRAX data folder")
    for name in mirax_names(index):
        if os.path.basename(name) != name or name.startswith("."):
            raise PathaiError("E104", "Slidedat.ini names a file outside of its folder")
        if not (folder / name).is_file():
            # any other name may be a person's
            usual = re.fullmatch(r"(?i)(data|index)\d{0,6}\.dat", name)
            shown = name if usual else "a file"
            raise PathaiError("E135", f"{shown} that the MIRAX Slidedat.ini lists is missing")


def _check_tiff(directories: list[Directory], size: int, limits: IngestConfig) -> None:
    if not directories:
        raise PathaiError("E104", "a TIFF without any image")
    for index, image in enumerate(directories):
        if image.largest > size and image.largest > 4 * image.block_bytes + 2**20:
            message = f"image {index} declares a tile of {image.largest} bytes"
            raise PathaiError("E116", f"{message}, the file has {size}", "copy the slide again")
        # Hamamatsu keeps the upper half of offsets beyond 4 GB in fields of its own.
        wrapped = image.hamamatsu and size > 2**32
        if image.end > size and not wrapped:
            message = f"image {index} ends at byte {image.end}, the file has {size}"
            raise PathaiError("E110", message)
        block = image.block_bytes / 2**20
        if image.tiled and block > limits.max_tile_mib:
            message = f"image {index} has tiles of {block:.0f} MiB, limit {limits.max_tile_mib}"
            raise PathaiError("E116", message, "raise ingest.max_tile_mib if it is trusted")
    if not any(image.tiled or image.kind == 0 for image in directories):
        raise PathaiError("E137", "the file holds only label, macro or reduced images")
    _check_first(directories[0], limits)


def _check_first(image: Directory, limits: IngestConfig) -> None:
    """The first image decides what kind of picture the file holds."""
    if image.width * image.height > limits.max_pixels:
        message = f"level 0 is {image.width} x {image.height} px, limit {limits.max_pixels} px"
        raise PathaiError("E116", message, "raise ingest.max_pixels if the slide is trusted")
    if image.compression not in CODECS:
        name = _NAMES.get(image.compression, "unknown")
        raise PathaiError("E119", f"TIFF compression {image.compression} ({name})")
    wide = [bits for bits in image.bits if bits != 8]
    if wide:
        raise PathaiError("E140", f"{max(wide)} bits per channel")
    if image.samples not in (3, 4):
        kind = "grayscale or one fluorescence channel" if image.samples < 3 else "many channels"
        raise PathaiError("E141", f"{image.samples} channels per pixel ({kind})")
    jpeg2000 = image.compression in (33003, 33005, 34712)
    if image.photometric not in (_RGB, _YCBCR) and not jpeg2000:
        raise PathaiError("E141", f"color model {image.photometric} of TIFF, not RGB or YCbCr")
    if image.samples == 4 and not image.alpha:
        raise PathaiError("E141", "4 channels per pixel, the fourth not declared as transparency")
    strip = image.block_bytes / 2**20
    if not image.tiled and not image.hamamatsu and strip > limits.max_tile_mib:
        raise PathaiError("E118", f"an image of {strip:.0f} MiB in one strip, without tiles")
