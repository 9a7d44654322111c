"""One exception and the one table of error codes.

Every message names what is wrong and what to do; the slide id and the row of the sheet are
added where they are known. Code numbers are stable: docs, tests and labs refer to them.
"""

from typing import NamedTuple


class Code(NamedTuple):
    """One row of the table: a short title and the remedy that applies when none is given."""

    title: str
    remedy: str


CODES: dict[str, Code] = {
    # slide files
    "E101": Code("empty file", "copy the slide again from the scanner"),
    "E102": Code("file not found", "correct column path of the sheet"),
    "E103": Code("a folder, not a file", "give the slide file itself in column path"),
    "E104": Code(
        "not a slide",
        "give a whole-slide image: SVS, NDPI, MRXS, SCN, BIF, DICOM, OME-TIFF, tiled TIFF",
    ),
    "E105": Code("no permission to read the file", "allow this user to read it"),
    "E106": Code("remote slide not allowed", "name its server in ingest.remote, or copy the slide"),
    "E107": Code("not read from a server", "copy the slide to a disk and give its path"),
    "E110": Code("truncated file", "copy the slide again; its declared end lies past its size"),
    "E111": Code("file still changing", "wait until the copy has finished, then run again"),
    "E112": Code("checksum differs", "the file is not the one that was ingested; copy it again"),
    "E113": Code("too many unreadable tiles", "copy or scan the slide again"),
    "E114": Code("loop of image directories", "the file is damaged; copy or scan it again"),
    "E115": Code("too many image directories", "the file is damaged or not a slide"),
    "E116": Code("declared size beyond the limit", "raise ingest.max_* if the slide is trusted"),
    "E117": Code("width or height is zero", "the file is damaged; copy or scan it again"),
    "E118": Code("image without tiles", "convert it to a tiled pyramid, e.g. vips tiffsave --tile"),
    "E119": Code("unsupported compression", "convert the slide to JPEG tiles"),
    "E120": Code("the reader could not open the slide", "copy the slide again or convert it"),
    "E121": Code("some pixels are unreadable", "they are left out; copy or scan the slide again"),
    "E130": Code("mpp is missing", "give µm per pixel in column mpp of the sheet"),
    "E131": Code("mpp is implausible", "give the true µm per pixel in column mpp of the sheet"),
    "E132": Code("mpp differs between x and y", "check the scanner; give mpp in the sheet"),
    "E133": Code("mpp of sheet and file disagree", "correct column mpp or set ingest.mpp_override"),
    "E134": Code("several dissimilar regions", "export each region as a slide of its own"),
    "E135": Code("part of the slide is missing", "copy the data folder beside the index file"),
    "E136": Code("DICOM series incomplete or mixed", "copy every instance of the one series"),
    "E137": Code("only a label or macro image", "give the file that holds the scan"),
    "E140": Code("not 8 bits per channel", "export the slide as 8-bit RGB"),
    "E141": Code("not an RGB image", "export the slide as 8-bit RGB"),
    "E142": Code("stain does not fit", "correct column stain or choose another task or detector"),
    "E143": Code("the slide is too coarse", "choose an encoder made for its µm/px"),
    "E144": Code(
        "more nuclei than there can be",
        "look at the slide there: ink, pigment or debris is not counted as nuclei",
    ),
    "E145": Code("no tissue", "look at the thumbnail; lower tile.min_tissue_mm2 if it is there"),
    "E146": Code("dark background", "bright-field slides only; fluorescence is not supported"),
    "E147": Code(
        "color profile cannot be used", "set features.color.icc: false, or convert it to sRGB"
    ),
    "E148": Code(
        "cannot be de-identified safely",
        "nothing was written; leave the slide out, or convert it with a program that you trust",
    ),
    "E149": Code(
        "no usable tissue", "scan the slide again; see tile.blur_um, tile.fold and their like"
    ),
    # sheet
    "E150": Code("control character in an id", "use letters, digits, dot, dash, underscore"),
    "E151": Code("unsafe id", "use letters, digits, dot, dash, underscore; at most 64"),
    "E152": Code("id appears twice", "give every slide an id of its own"),
    "E153": Code("same slide under two ids", "list the slide once, or correct column path"),
    "E154": Code("sheet is not readable", "save it as tab-separated UTF-8 with a header row"),
    "E155": Code(
        "drawn regions are not readable", "export them from QuPath as GeoJSON, in pixels of level 0"
    ),
    # results and machine
    "E160": Code("cannot write to the results folder", "choose a folder that this user may write"),
    "E161": Code("no space left", "free space or choose another disk, then run again"),
    "E162": Code("reading failed", "check the disk, then run again"),
    "E163": Code("file replaced while it was read", "run again when nothing writes to it"),
    "E164": Code("store is missing or damaged", "pathai run --check makes it again"),
    "E165": Code("store is of another version", "run the stage again with this pathai"),
    "E166": Code("result is stale or of another parent", "run pathai run to renew it"),
    "E167": Code("results without a row in the sheet", "remove the folder, or add the row again"),
    "E170": Code("out of memory", "lower the batch size"),
    "E171": Code("the decoder did not answer in time", "copy the slide again; see ingest.seconds"),
    "E172": Code("the decoder crashed", "the file is damaged or hostile; scan it again"),
    "E173": Code(
        "the job did not finish", "raise its memory or time, then pathai run --retry-failed"
    ),
    "E175": Code("another run owns the folder", "wait for it, or end it"),
    "E176": Code("the workflow engine failed", "see the log named above, then run again"),
    "E177": Code(
        "the dask scheduler does not answer",
        "start it, or correct cells.scheduler; what is done is kept",
    ),
    # features, models
    "E180": Code("features are not finite or do not fit", "run pathai features again"),
    "E181": Code("features of another encoder", "run pathai features with the model's encoder"),
    "E182": Code("weights or model bundle damaged", "copy the bundle or weights again"),
    "E183": Code("weights are missing", "give a local safetensors file"),
    "E184": Code("training data do not allow the task", "see the message; correct sheet or task"),
    "E185": Code("the licence is not allowed", "choose another encoder, or weights.licence"),
    "E186": Code("the detector's answer does not fit", "correct the detector"),
    "E187": Code("foreign cells do not fit", "see docs/detectors.md for what is read"),
    "E190": Code(
        "configuration is wrong", "correct the named key; pathai init writes a commented file"
    ),
    "E191": Code("unknown name", "run pathai list for the names"),
    "E192": Code("task file is wrong", "correct the named key; pathai init writes an example"),
    "E193": Code("the call is wrong", "see --help"),
    "E194": Code("something is missing on this machine", "run pathai doctor"),
    "E195": Code("a library is known to be unsafe", "install the version named above"),
    # report and review
    "E200": Code("findings are inconsistent", "run pathai run; report this if it persists"),
    "E201": Code("the language model's address is refused", "use a loopback or allowed address"),
    "E202": Code("the language model did not answer usably", "the template draft is used instead"),
    "E203": Code("the draft does not stand on its findings", "draft it again"),
    "E204": Code("an entry does not fit", "see pathai list keys for what may be entered"),
    "E205": Code("clinical context is wrong", "correct the named item of clinical.yaml"),
    "E206": Code("the report cannot be signed", "mend what is named, then sign again"),
    "E207": Code("the audit trail is broken", "restore the file from a copy; sign nothing from it"),
    "E208": Code("the knowledge corpus is wrong", "correct the named file; see docs/report.md"),
    "E209": Code("the report's layout is wrong", "correct the named key of the layout file"),
    "E210": Code("the review log is broken", "restore the log; nothing was changed"),
    "E211": Code("no display", "start it on a desktop, or under xvfb-run"),
    "E212": Code("nothing to review", "run pathai run first"),
    "E213": Code("the question is not understood", "see pathai ask --help for examples"),
    "E217": Code("the file does not fit the review", "see docs/review.md: to QuPath and back"),
    "E299": Code("internal error", "run again with --debug and report it"),
}


class PathaiError(Exception):
    """An error that a user can act on.

    Parameters
    ----------
    code : str
        A key of ``CODES``.
    message : str
        What is wrong, in one line, naming the place (slide id, row, tile, key).
    remedy : str
        What to do; by default the table's.
    """

    def __init__(self, code: str, message: str, remedy: str = "") -> None:
        if code not in CODES:
            raise ValueError(f"unknown error code {code}")
        self.code = code
        self.message = " ".join(message.split())
        self.remedy = remedy or CODES[code].remedy
        super().__init__(code, self.message, self.remedy)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}; {self.remedy}"

    def about(self, subject: str) -> "PathaiError":
        """Return the same error with the slide or case named in front of the message."""
        if self.message.startswith(f"{subject}: "):
            return self
        return PathaiError(self.code, f"{subject}: {self.message}", self.remedy)
