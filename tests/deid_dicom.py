"""A DICOM slide of several instances, with canaries in every place that could hold one."""

from pathlib import Path

import imagecodecs
import numpy as np
from deid_cases import CANARY
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

TEXT = CANARY.decode()
TILE = 64
WHOLE_SLIDE = UID("1.2.840.10008.5.1.4.1.1.77.1.6")
ROOT = "1.2.826.0.1.3680043.8.498.9"


def code(value, scheme, meaning):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def instance(picture, number, flavor="VOLUME", syntax=JPEGBaseline8Bit, series="1"):
    """A data set with the picture as tiles."""
    height, width = picture.shape[:2]
    down, across = -(-height // TILE), -(-width // TILE)
    padded = np.pad(picture, ((0, -height % TILE), (0, -width % TILE), (0, 0)), mode="edge")
    tiles = [
        np.ascontiguousarray(padded[y * TILE : (y + 1) * TILE, x * TILE : (x + 1) * TILE])
        for y in range(down)
        for x in range(across)
    ]
    new = Dataset()
    new.file_meta = FileMetaDataset()
    new.file_meta.TransferSyntaxUID = syntax
    new.file_meta.SourceApplicationEntityTitle = TEXT
    new.preamble = (CANARY * 10)[:128]
    new.ImageType = ["ORIGINAL", "PRIMARY", flavor, "NONE"]
    new.SOPClassUID, new.SOPInstanceUID = WHOLE_SLIDE, f"{ROOT}.3.{series}.{number}"
    new.StudyInstanceUID, new.SeriesInstanceUID = f"{ROOT}.1", f"{ROOT}.2.{series}"
    new.FrameOfReferenceUID, new.Modality = f"{ROOT}.4", "SM"
    new.PatientName, new.PatientID, new.PatientBirthDate = f"{TEXT}^A", TEXT, "19340102"
    new.PatientSex, new.PatientAge, new.StudyDate, new.ContentDate = (
        "F",
        "093Y",
        "20310517",
        "20310518",
    )
    new.AcquisitionDateTime, new.StudyTime = "20310517101112", "101112"
    new.AccessionNumber = new.StudyID = new.InstitutionName = TEXT
    new.ReferringPhysicianName = new.OperatorsName = f"{TEXT}^B"
    new.SeriesDescription = new.StudyDescription = new.DerivationDescription = TEXT
    new.Manufacturer, new.ManufacturerModelName, new.DeviceSerialNumber = TEXT, TEXT, TEXT
    new.SoftwareVersions, new.ContainerIdentifier, new.PositionReferenceIndicator = (
        TEXT,
        TEXT,
        "SLIDE_CORNER",
    )
    new.LabelText, new.BarcodeValue, new.ImageComments = TEXT, TEXT, TEXT
    new.InstanceNumber, new.VolumetricProperties = number, "VOLUME"
    new.BurnedInAnnotation = "NO" if flavor == "VOLUME" else "YES"
    new.SpecimenLabelInImage = "NO" if flavor == "VOLUME" else "YES"
    new.SamplesPerPixel, new.PlanarConfiguration, new.PixelRepresentation = 3, 0, 0
    new.PhotometricInterpretation = "YBR_FULL_422" if syntax == JPEGBaseline8Bit else "RGB"
    new.NumberOfFrames, new.Rows, new.Columns = len(tiles), TILE, TILE
    new.BitsAllocated, new.BitsStored, new.HighBit = 8, 8, 7
    new.TotalPixelMatrixColumns, new.TotalPixelMatrixRows = width, height
    new.TotalPixelMatrixFocalPlanes = new.NumberOfOpticalPaths = 1
    new.DimensionOrganizationType = "TILED_FULL"
    new.ImagedVolumeWidth, new.ImagedVolumeHeight, new.ImagedVolumeDepth = 1.5, 1.0, 0.1
    new.ImageOrientationSlide = [0, 1, 0, 1, 0, 0]
    new.LossyImageCompression, new.FocusMethod, new.ExtendedDepthOfField = "01", "AUTO", "NO"
    new.ContainerTypeCodeSequence = [code("433466003", "SCT", TEXT)]
    specimen = Dataset()
    specimen.SpecimenIdentifier, specimen.SpecimenUID = TEXT, f"{ROOT}.5"
    specimen.SpecimenShortDescription = TEXT
    step = Dataset()
    step.TextValue, step.ConceptNameCodeSequence = TEXT, [code(TEXT, "99X", TEXT)]
    specimen.SpecimenPreparationSequence = [step]
    new.SpecimenDescriptionSequence = [specimen]
    path = Dataset()
    path.OpticalPathIdentifier, path.OpticalPathDescription = "1", TEXT
    path.IlluminationTypeCodeSequence = [code("111744", "DCM", TEXT)]
    path.IlluminationColorCodeSequence = [code("414298005", "SCT", TEXT)]
    hidden = path.private_block(0x0031, TEXT, create=True)
    hidden.add_new(1, "LO", TEXT)
    new.OpticalPathSequence = [path]
    measures = Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.0005 * 2 ** (number - 1)] * 2, 0.001
    kind = Dataset()
    kind.FrameType = ["ORIGINAL", "PRIMARY", flavor, "NONE"]
    shared = Dataset()
    shared.PixelMeasuresSequence = [measures]
    shared.WholeSlideMicroscopyImageFrameTypeSequence = [kind]
    new.SharedFunctionalGroupsSequence = [shared]
    block = new.private_block(0x0041, TEXT, create=True)
    block.add_new(1, "LT", TEXT)
    block.add_new(2, "OB", CANARY + b"\0")
    inner = Dataset()
    inner.PatientName = TEXT
    block.add_new(3, "SQ", [inner])
    if syntax == JPEGBaseline8Bit:
        frames = [bytes(imagecodecs.jpeg8_encode(t, level=90, subsampling="422")) for t in tiles]
        new.PixelData = encapsulate(frames)
        new["PixelData"].VR = "OB"
    else:
        data = b"".join(tile.tobytes() for tile in tiles)
        new.add_new(0x7FE00010, "OW" if syntax == ImplicitVRLittleEndian else "OB", data)
    new.add_new(0xFFFCFFFC, "OB", CANARY * 20)
    return new


def write_dicom_slide(folder: Path, picture, syntax=JPEGBaseline8Bit) -> Path:
    """Two levels, a label and an overview, under names that say too much."""
    folder.mkdir()
    label = np.full((64, 64, 3), 240, np.uint8)
    label[10:50:6, 8:56] = np.random.default_rng(3).integers(0, 255, (7, 48, 3), np.uint8)
    for number, (pixels, flavor) in enumerate(
        [(picture, "VOLUME"), (picture[::2, ::2], "VOLUME"), (label, "LABEL"), (label, "OVERVIEW")],
        1,
    ):
        made = instance(np.ascontiguousarray(pixels), number, flavor, syntax)
        made.save_as(folder / f"{TEXT}-{number}.dcm", enforce_file_format=True)
    return folder


__all__ = ["ExplicitVRLittleEndian", "ImplicitVRLittleEndian", "instance", "write_dicom_slide"]
