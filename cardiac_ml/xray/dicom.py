"""Read a chest X-ray from a DICOM file as a viewer shows it: bright where the body is dense.

The stored numbers pass through three tables before they are a picture: the modality table or rescale (stored number ->
detector unit), the values-of-interest table or window (unit -> grey), and MONOCHROME1, which says that small is
white. Skipping one gives pictures that are inverted, flat or clipped, and a network that learns which hospital it is.
"""
from pathlib import Path

import numpy as np

from cardiac_ml.files import DataError
from cardiac_ml.xray.picture import MOST_PIXELS, Picture, checked

PROJECTIONS = ("CR", "DX", "RG", "RF", "OT", "XA", "")  # modalities that can hold a chest radiograph
SIDE_VIEWS = ("LL", "RL", "LATERAL", "LAT", "LLD", "RLD")
COMPRESSED = ("Install a decoder (pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg) or convert the file "
              "to an uncompressed one (dcmconv, dcmdjpeg, gdcmconv --raw).")


def is_dicom(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM" or path.suffix.lower() in (".dcm", ".dicom")


def read_dicom(path: Path) -> Picture:
    """The one picture in a DICOM file."""
    header = _header(path)
    _one_grey_frame(header, path)
    stored = _stored_pixels(header, path)
    pixels, notes = _displayed(stored, header)
    empty = _outside_collimator(stored, header)
    if empty.any() and not empty.all():
        pixels[empty] = pixels[~empty].min()
    return checked(Picture(pixels.astype(np.float32), _mm_per_pixel(header, path), path.name, _doubts(header), notes))


def _header(path: Path):
    try:
        import pydicom
    except ImportError as error:
        raise DataError(f"{path} is a DICOM file; reading it needs pydicom. "
                        "Run: pip install 'cardiac-ml[xray]'  (or: pip install pydicom)") from error
    try:
        return pydicom.dcmread(path)
    except (pydicom.errors.InvalidDicomError, EOFError, OSError, KeyError) as error:
        raise DataError(f"{path} is no whole DICOM file ({error}). Export it again.") from error


def _one_grey_frame(header, path: Path) -> None:
    """An error for what is a DICOM file, but no single grey picture."""
    if "PixelData" not in header:
        raise DataError(f"{path} holds no picture (SOP class {header.get('SOPClassUID', 'unknown')}). Expected one.")
    if int(header.get("Rows") or 0) * int(header.get("Columns") or 0) > MOST_PIXELS:
        raise DataError(f"{path} is too large ({header.Columns} x {header.Rows} pixels); expected at most "
                        f"{MOST_PIXELS:,}.")
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise DataError(f"{path} holds {header.NumberOfFrames} frames; expected one chest X-ray, not a series.")
    kind = header.get("PhotometricInterpretation", "MONOCHROME2")
    if kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise DataError(f"{path} is a colour picture ({kind}); expected MONOCHROME1 or MONOCHROME2. "
                        "A screenshot or a photograph? Ask for the original.")


def _stored_pixels(header, path: Path) -> np.ndarray:
    """The stored numbers (rows, columns), with unused high bits cleared; clear words where no decoder is there."""
    try:
        stored = header.pixel_array
    except (RuntimeError, NotImplementedError, AttributeError, ValueError, ImportError) as error:
        syntax = getattr(getattr(header, "file_meta", None), "TransferSyntaxUID", None)
        if syntax is not None and syntax.is_compressed:
            raise DataError(f"{path} is compressed ({syntax.name}) and cannot be decoded here. {COMPRESSED}") from error
        raise DataError(f"{path}: its pixels do not fit its header ({error}). Export it again.") from error
    used, held = int(header.get("BitsStored", 16)), int(header.get("BitsAllocated", 16))
    if used < held and int(header.get("PixelRepresentation", 0)) == 0:
        stored = stored & stored.dtype.type((1 << used) - 1)  # old files keep overlays in the high bits
    return stored


def _displayed(stored: np.ndarray, header) -> tuple[np.ndarray, tuple[str, ...]]:
    """Stored numbers -> greys, bright = dense: rescale, window or table, photometric interpretation."""
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    units, notes = apply_modality_lut(stored, header), ()
    try:
        greys = np.asarray(apply_voi_lut(units, header), float)
    except (ValueError, NotImplementedError, TypeError, IndexError, AttributeError) as error:
        greys, notes = np.asarray(units, float), (f"its display window was ignored ({error})",)
    if not np.ptp(greys) > 0 and np.ptp(units) > 0:  # a window beside all values: the picture is there all the same
        greys, notes = np.asarray(units, float), ("its display window shows nothing and was ignored",)
    if header.get("PhotometricInterpretation") == "MONOCHROME1":
        greys = greys.max() + greys.min() - greys
    return greys, notes


def _outside_collimator(stored: np.ndarray, header) -> np.ndarray:
    """Mask of the pixels that the file marks as padding: they were never measured."""
    value = header.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, bool)
    other = header.get("PixelPaddingRangeLimit", value)
    return (stored >= min(value, other)) & (stored <= max(value, other))


def _mm_per_pixel(header, path: Path) -> float:
    """Millimetres a pixel: PixelSpacing, or the detector's own divided by the magnification; NaN where unknown."""
    spacing, scale = header.get("PixelSpacing"), 1.0
    if not spacing:
        spacing = header.get("ImagerPixelSpacing")
        scale = float(header.get("EstimatedRadiographicMagnificationFactor") or 1)
    if not spacing:
        return float("nan")
    rows, columns = float(spacing[0]), float(spacing[1])
    if abs(rows - columns) > 0.01 * columns or not rows > 0:
        raise DataError(f"{path}: pixels of {rows:g} x {columns:g} mm; expected square ones. Resample it first.")
    return columns / scale


def _doubts(header) -> tuple[str, ...]:
    """What the header says against this being a frontal chest X-ray."""
    modality, view = str(header.get("Modality", "")), str(header.get("ViewPosition", "") or "").upper()
    part = str(header.get("BodyPartExamined", "") or "").upper()
    doubts = [f"the file says modality {modality}"] if modality not in PROJECTIONS else []
    doubts += [f"the file says a lateral view ({view})"] if view in SIDE_VIEWS else []
    doubts += [f"the file says body part {part}"] if part and not {"CHEST", "THORAX"} & set(part.split()) else []
    return tuple(doubts)
