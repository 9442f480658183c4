"""Data from files: tables, arrays and folders of images."""

import lzma
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, is_zipfile

import numpy as np

#: Files that are images.
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
#: The shorter side of images that are read as pixels, and that a network is given.
PIXELS, NETWORK = 32, 112


class CannotRead(Exception):
    """What is asked for is not in the file, or the file is not what it should be."""


@dataclass
class Data:
    """What was read.

    Attributes
    ----------
    X : array-like of shape (n_samples, ...)
    y : ndarray of shape (n_samples,)
    notes : list of str
        What was done to it.
    image_shape : tuple or None
        Of flat images.
    """

    X: object
    y: np.ndarray
    notes: list
    image_shape: tuple | None = None


def read(path, label=None, *, text=None, image_shape=None, side=PIXELS):
    """Read data and labels.

    Parameters
    ----------
    path : str or Path
        A .csv (also compressed), .tsv or .parquet file, an .npz file, or a folder that holds one
        folder of images a class.
    label : str, default=None
        The column, or array of the .npz file, that holds the labels; "y" for .npz files.
    text : str, default=None
        The column of a table that holds texts, which alone are then the data.
    image_shape : tuple of int, default=None
        Of flat images in an .npz file.
    side : int, default=32
        Images of a folder are made squares of this side.

    Returns
    -------
    data : Data

    Raises
    ------
    CannotRead
    """
    path = Path(path)
    if not path.exists():
        raise CannotRead(f"{path} is not there.")
    name = path.name.lower()
    arrays = name.endswith(".npz")
    if image_shape is not None and not arrays:
        raise CannotRead(f"--image-shape is of flat images in an .npz file; {path.name} is none.")
    if text is not None and (arrays or path.is_dir()):
        raise CannotRead(f"--text names a column of a table; {path.name} is none.")
    if path.is_dir():
        if label is not None:
            raise CannotRead(
                f"{path.name} is a folder, where the folders in it are the labels: leave out"
                " --label."
            )
        return _folder(path, side)
    if arrays:
        return _arrays(path, label or "y", image_shape)
    if name.endswith((".parquet", ".pq")) or any(
        name.endswith(end + packed)
        for end in (".csv", ".tsv")
        for packed in ("", ".gz", ".bz2", ".xz", ".zip")
    ):
        return _table(path, label, text)
    if name.endswith((".pkl", ".pickle", ".joblib", ".npy")):
        raise CannotRead(
            f"{path.name}: pickles run code when they are opened, and are refused. Save arrays"
            " with numpy.savez, tables with DataFrame.to_parquet."
        )
    raise CannotRead(
        f"{path.name}: data are .csv, .tsv, .parquet or .npz files, or a folder with one folder of"
        " images a class."
    )


def _table(path, label, text):
    import pandas as pd

    if label is None:
        raise CannotRead("a table needs --label, the column of the labels.")
    notes = []
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            frame = pd.read_parquet(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", pd.errors.DtypeWarning)
                frame = _read_csv(path, label, notes)
    except UnicodeDecodeError as error:
        raise CannotRead(f"{path.name} is not in UTF-8 ({error}): save it so.") from error
    except (ValueError, OSError, EOFError, zlib.error, lzma.LZMAError, BadZipFile) as error:
        why = str(error).strip()
        raise CannotRead(f"{path.name} cannot be read as a table: {why}") from error
    if label not in frame.columns:
        known = ", ".join(map(str, frame.columns[:20]))
        raise CannotRead(f"{path.name} has no column {label!r}; it has: {known}.")
    if not len(frame):
        raise CannotRead(f"{path.name} holds no row.")
    y = frame[label]
    if isinstance(y, pd.DataFrame):
        raise CannotRead(f"{path.name} has several columns {label!r}.")
    if y.isna().any():
        raise CannotRead(
            f"{int(y.isna().sum())} of {len(y)} labels in column {label!r} are missing, the first"
            f" in row {int(np.argmax(y.isna().to_numpy()))}: leave these rows out, or label them."
        )
    mixed = y.map(type).nunique() > 1
    y = y.astype(str) if mixed or y.dtype == object else y
    X = frame.drop(columns=[label])
    if text is not None:
        if text not in X.columns:
            raise CannotRead(f"{path.name} has no column {text!r} of texts.")
        if X[text].isna().any():
            raise CannotRead(f"{int(X[text].isna().sum())} texts of column {text!r} are missing.")
        return Data(X[text].astype(str).tolist(), np.asarray(y), notes)
    if X.shape[1] == 0:
        raise CannotRead(f"{path.name} has no column beside {label!r}.")
    texts = [name for name in X.columns if _is_text(X[name])]
    if len(texts) == 1 and X.shape[1] == 1:
        notes.append(f"Column {texts[0]!r} holds texts.")
        return Data(X[texts[0]].fillna("").astype(str).tolist(), np.asarray(y), notes)
    kinds = {
        name: sorted({type(value).__name__ for value in X[name].dropna()})
        for name in X.columns
        if X[name].dtype == object
    }
    several = [name for name, found in kinds.items() if len(found) > 1]
    if several:
        notes.append(
            f"Columns of mixed types are taken as text: {', '.join(map(str, several[:10]))}."
        )
    infinite = [
        name for name in X.columns if X[name].dtype.kind == "f" and np.isinf(X[name]).any()
    ]
    if infinite:
        raise CannotRead(
            f"Columns {', '.join(map(str, infinite[:10]))} of {path.name} hold infinite numbers:"
            " leave these rows out, or leave the cells empty."
        )
    empty = [name for name in X.columns if X[name].isna().all()]
    if empty:
        notes.append(f"Empty columns are left out: {', '.join(map(str, empty[:10]))}.")
        X = X.drop(columns=empty)
    X.columns = [str(name) for name in X.columns]
    return Data(X, np.asarray(y), notes)


def _read_csv(path, label, notes):
    """A table; columns named twice, which get a number, and decimal commas are noted."""
    import pandas as pd

    separator = _separator(path, label)
    names = pd.read_csv(path, sep=separator, header=None, nrows=1, dtype=str).iloc[0]
    twice = names[names.duplicated()].unique().tolist()
    if label in twice:
        raise CannotRead(f"{path.name} has several columns {label!r}.")
    if twice:
        notes.append(f"Columns named twice get a number: {', '.join(twice[:10])}.")
    frame = pd.read_csv(path, sep=separator)
    commas = [
        name
        for name in frame.columns.drop(label, errors="ignore")
        if frame[name].dtype.kind not in "biuf" and frame[name].notna().any()
        and frame[name].dropna().astype(str).str.fullmatch(r"\s*[-+]?\d+,\d+\s*").mean() > 0.5
    ]  # fmt: skip
    if separator != "," and commas:
        notes.append(f"Decimal commas: {', '.join(map(str, commas[:10]))}.")
        frame = pd.read_csv(path, sep=separator, decimal=",")
    return frame


def _separator(path, label):
    """What stands between columns: of a comma, semicolon, tab and bar that which gives `label`."""
    import pandas as pd

    usual = "\t" if ".tsv" in path.name.lower() else ","
    for separator in dict.fromkeys((usual, ",", ";", "\t", "|")):
        if label in pd.read_csv(path, sep=separator, nrows=0).columns:
            return separator
    return usual


def _is_text(column):
    """Whether a column holds texts: of several words, and hardly any twice."""
    if column.dtype != object and str(column.dtype) not in ("str", "string"):
        return False
    values = column.dropna().astype(str)
    values = values.iloc[:: max(1, len(values) // 500)]
    return len(values) > 0 and values.str.split().str.len().mean() > 3 and values.nunique() > (
        0.5 * len(values)
    )  # fmt: skip


def _arrays(path, label, image_shape):
    if not is_zipfile(path):
        raise CannotRead(
            f"{path.name} cannot be read: it is no whole .npz file, as numpy.savez makes them."
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, zlib.error, BadZipFile) as error:
        if "pickle" in str(error).lower():
            raise CannotRead(
                f"{path.name} holds Python objects, which run code when they are opened, and are"
                " refused. Save arrays of numbers or fixed-width text."
            ) from error
        raise CannotRead(f"{path.name} cannot be read: {error}") from error
    label = "y_train" if label == "y" and "y" not in arrays and "y_train" in arrays else label
    if label not in arrays:
        raise CannotRead(f"{path.name} has no array {label!r}; it has: {', '.join(arrays)}.")
    y = arrays[label]
    if y.ndim != 1:
        raise CannotRead(
            f"array {label!r} of {path.name} has shape {y.shape}: labels are one a row. Of one-hot"
            " rows take argmax(axis=1)."
        )
    others = {
        name: a for name, a in arrays.items() if name != label and a.ndim and len(a) == len(y)
    }
    name = next((name for name in ("X", "X_train") if name in others), None)
    name = name or next(iter(others), None)
    if name is None:
        raise CannotRead(
            f"{path.name} has no array of as many rows as {label!r} has labels, {y.shape}."
        )
    X, notes = others[name], []
    if X.ndim == 1 and X.dtype.kind == "U":
        return Data(X.tolist(), y, ["The array holds texts."])
    if X.dtype.kind not in "biuf":
        raise CannotRead(f"array {name!r} of {path.name} has dtype {X.dtype}, no numbers.")
    if X.dtype.kind == "f" and not np.isfinite(X).all():
        raise CannotRead(f"array {name!r} of {path.name} holds values that are not finite.")
    if X.ndim == 4 and X.shape[-1] in (1, 3) and X.shape[1] not in (1, 3):
        X = np.moveaxis(X, -1, 1)
    if X.ndim == 4 and X.shape[1] not in (1, 3):
        raise CannotRead(f"images of shape {X.shape[1:]} have neither 1 nor 3 channels.")
    if image_shape is not None and (X.ndim != 2 or np.prod(image_shape) != X.shape[1]):
        raise CannotRead(f"--image-shape {image_shape} does not fit rows of shape {X.shape[1:]}.")
    return Data(X, y, notes, image_shape)


def _folder(path, side):
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise CannotRead("folders of images need: pip install 'skbackdoor[audit]'.") from error
    classes = sorted(
        folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith(".")
    )
    images, labels, grey = [], [], True
    for folder in classes:
        for file in sorted(folder.iterdir()):
            if file.suffix.lower() not in IMAGES:
                continue
            try:
                with Image.open(file) as image:
                    grey = grey and image.mode in ("1", "L", "I", "I;16")
                    images.append(np.asarray(_eight_bit(image).resize((side, side))))
            except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
                raise CannotRead(
                    f"{file} does not open as an image ({error}): mend it or take it out."
                ) from error
            except Image.DecompressionBombError as error:
                raise CannotRead(f"{file} is too large: {error}") from error
            labels.append(folder.name)
    if not images:
        raise CannotRead(
            f"{path} holds no images: one folder a class is needed, with files that end in"
            f" {', '.join(IMAGES)}."
        )
    X = np.moveaxis(np.stack(images), -1, 1)
    X = X[:, 0] if grey else X
    return Data(X, np.array(labels), [f"Images were made {side} x {side} pixels."])


def _eight_bit(image):
    """An image as RGB from 0 to 255; 16 bits, which `convert` cuts off at 255, are scaled."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of no known range")
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image, dtype=float) / 257).round().astype(np.uint8))
    return image.convert("RGB")
