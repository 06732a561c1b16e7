"""Parts that several views share: the choice of an event, of columns, and pictures."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import streamlit as st

from flow_models.core.errors import UserError
from flow_models.explore import given
from flow_models.explore.opened import Opened, as_frame, event

DPI = 105
SIDE = 260  # pixels of a picture on the page, at least
OWN = "a file of mine"
TABLES = ["csv", "tsv", "npy", "npz", "parquet"]
PHOTOS = ["png", "jpg", "jpeg", "bmp", "gif", "tif", "tiff", "webp"]


def figure(drawn) -> None:
    """A Matplotlib figure at its size, or as wide as its place where that is less."""
    file = io.BytesIO()
    drawn.savefig(file, format="png", dpi=DPI)
    _image(file.getvalue(), width=int(drawn.get_figwidth() * DPI))


def picture(image: np.ndarray, caption: str = "") -> None:
    """A picture uint8 [H, W, C], its pixels as squares."""
    from flow_models.data.images.export import png

    times = max(1, -(-SIDE // max(image.shape[:2])))
    large = image.repeat(times, 0).repeat(times, 1)
    _image(png(large), caption=caption or None)


def _image(content: bytes, **options) -> None:
    """A PNG file, inside the page: Streamlit serves files apart from it, and drops each as soon as
    the page is drawn anew, so a browser that still asks for one would get a 404."""
    st.image(f"data:image/png;base64,{base64.b64encode(content).decode()}", **options)


def plane(opened: Opened, rows, key: str) -> list[str]:
    """The two columns of a plane of rows, a DataFrame, chosen where there are more; at first those
    of most values."""
    names = list(opened.model.columns)
    if len(names) < 3:
        return names
    values = rows[names].nunique()
    first, second = sorted(np.argsort(-values.to_numpy(), kind="stable")[:2].tolist())
    left, right = st.columns(2)
    across = left.selectbox("Across", names, first, key=f"{key}-across")
    return [across, right.selectbox("Up", names, second, key=f"{key}-up")]


def class_choice(opened: Opened, key: str) -> str | None:
    """A class by name; None where the model has none."""
    if not opened.model.classes:
        return None
    return st.selectbox("Class", opened.model.classes, key=f"{key}-class")


def one_hot(opened: Opened, name: str | None):
    """The class as `decode` takes it."""
    return None if name is None else np.array([name])


def choose(opened: Opened, key: str, number: int = 1):
    """An event [1, ...] of a set, or of a file that is dropped in; None while there is no file.

    Raises:
      UserError: the file is none, or its row is none that the model takes.
    """
    source = st.radio("From", [*opened.sets, OWN], horizontal=True, key=f"{key}-from")
    if source == OWN:
        return _of_file(opened, key)
    values = opened.sets[source]
    options: dict[str, Any] = {"min_value": 1, "max_value": len(values), "key": f"{key}-{source}"}
    found = st.number_input(f"Number, to {len(values)}", value=min(number, len(values)), **options)
    return event(values, int(found) - 1)


def _of_file(opened: Opened, key: str):
    pictures = opened.kind == "pictures"
    said = "A picture" if pictures else "A table"
    file = st.file_uploader(said, type=PHOTOS if pictures else TABLES, key=f"{key}-file")
    if file is None:
        st.info("Drop a file into the field above.")
        return None
    if pictures:
        return given.pictures(opened.model, file.name, file.getvalue())
    values, errors = given.rows(opened.model, file.name, file.getvalue())
    options: dict[str, Any] = {"min_value": 1, "max_value": len(errors), "key": f"{key}-row"}
    number = int(st.number_input(f"Row, to {len(errors)}", **options))
    if errors[number - 1]:
        raise UserError(f"{file.name}: row {number}: {errors[number - 1]}")
    return event(values, number - 1)


def edited(opened: Opened, row, key: str):
    """A row [1, D] whose cells can be changed on the page, as the model takes it."""
    frame = as_frame(row, opened.model.columns)
    # a key of the row, so that each starts as it is
    found = st.data_editor(frame, hide_index=True, key=f"{key} {frame.to_json(date_format='iso')}")
    return found if hasattr(row, "columns") else found.to_numpy(np.float64)
