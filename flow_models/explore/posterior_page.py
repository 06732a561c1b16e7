"""Views of posteriors: data that can be edited, what follows from them, and latents."""

from __future__ import annotations

import time

import numpy as np
import streamlit as st

from flow_models.applications.inverse import curves, profile, traces
from flow_models.applications.inverse.views import View
from flow_models.core.errors import UserError
from flow_models.explore import figures, given, latents, parts, posterior
from flow_models.explore.opened import Opened
from flow_models.explore.posterior import Background, Posterior
from flow_models.simulators.dispersion import Dispersion
from flow_models.simulators.gravity import Gravity
from flow_models.simulators.seismic import Seismograms

SIDES = {Gravity: profile, Dispersion: curves, Seismograms: traces}  # who draws their posteriors
SHOWN = 8  # parameters in panels


@st.cache_resource(show_spinner="Simulating ...")
def _background(place: str, _opened: Opened) -> Background:
    return posterior.background(_opened)


def show(opened: Opened) -> None:
    """An observation whose data can be changed, and its posterior, drawn anew each time."""
    known = _background(opened.place, opened)
    left, right = st.columns([1, 2])
    with left:
        n = st.slider("Draws", 100, 5000, 1000, 100, key="draws")
        temperature = st.slider("Temperature", 0.05, 1.5, 1.0, 0.05, key="temperature")
        seed = int(st.number_input("Seed", 0, 10_000, 0, key="seed"))
        y = _data(opened, known)
    if y is None:
        return
    with right:
        began = time.perf_counter()
        found = posterior.posterior(opened, known, y, n, temperature, seed)
        _say(found)
        drawn = figures_of(opened, known, found)
        seconds = time.perf_counter() - began
        for each in drawn:
            parts.figure(each)
        if not len(found.predicted):
            st.info("The data that these draws predict cannot be simulated here.")
        st.caption(f"Drawn anew in {seconds:.2f} s.")
        st.dataframe(posterior.quantiles(opened, found.x), hide_index=True)


def _data(opened: Opened, known: Background) -> np.ndarray | None:
    """The data of an observation [M], as they stand in the table."""
    import pandas as pd

    names = list(opened.model.simulator.data_names)
    source = st.selectbox("Observation", [*known.observations, parts.OWN], key="observation")
    start = known.observations.get(source)
    if start is None:
        start = _of_file(opened)
    if start is None:
        return None
    st.caption("Data can be changed.")
    table = pd.DataFrame({"datum": names, "value": np.asarray(start, np.float64)})
    mark = hash(np.asarray(start).tobytes())  # another observation starts as it is
    height = 35 * min(len(names), 12) + 38
    edited = st.data_editor(
        table, key=f"data-{mark}", hide_index=True, disabled=["datum"], height=height
    )
    return edited["value"].to_numpy(np.float64)


def _of_file(opened: Opened) -> np.ndarray | None:
    file = st.file_uploader("A table, a row an observation", type=parts.TABLES, key="data-file")
    if file is None:
        st.info("Drop a file into the field above.")
        return None
    values, errors = given.rows(opened.model, file.name, file.getvalue())
    number = int(st.number_input(f"Row, to {len(errors)}", 1, len(errors), key="data-row"))
    if errors[number - 1]:
        raise UserError(f"{file.name}: row {number}: {errors[number - 1]}")
    return np.asarray(values[number - 1], np.float64)


def _say(found: Posterior) -> None:
    """How the data lie among simulated ones."""
    if found.p_value is None:
        st.info("This model has no density of the data: it cannot say how strange they are.")
    else:
        st.metric("simulated data at least as strange", f"{found.p_value:.2%}")


def figures_of(opened: Opened, known: Background, found: Posterior) -> list:
    """The posterior, and predicted data over the observed ones."""
    simulator = opened.model.simulator
    for kind, side in SIDES.items():
        if isinstance(simulator, kind) and len(found.predicted):
            view = View("here", "", found.y, found.x, found.predicted)
            return [figure for _, figure, _ in side.show(simulator, [view])]
    names = list(opened.model.columns)[:SHOWN]
    prior = None if known.prior is None else known.prior[:, : len(names)]
    drawn = [figures.margins(found.x[:, : len(names)], prior, names)]
    if len(found.predicted):
        width = found.predicted.shape[1]  # without log sigma
        seen = found.y[:width], found.predicted, known.simulated[:, :width]
        drawn.append(figures.over_data(*seen, simulator.data_names[:width]))
    return drawn


def show_latents(opened: Opened) -> None:
    """Latents of the posterior of an observation as sliders, and the parameters they make."""
    import pandas as pd

    known = _background(opened.place, opened)
    left, right = st.columns([1, 2])
    with left:
        source = st.selectbox("Observation", list(known.observations), key="latents-of")
        size = opened.model.latent_size
        count = min(size, latents.MOST)
        values = [st.slider(f"z {i + 1}", -4.0, 4.0, 0.0, 0.05, key=f"z{i}") for i in range(count)]
        if count < size:
            st.caption(f"The first {count} of {size} latents.")
    y = np.asarray(known.observations[source])
    z = np.pad(np.array(values), (0, size - count))
    x = np.asarray(opened.model.decode(z[None], y[None]))[0]
    with right:
        found = posterior.posterior(opened, known, y, 1000, 1.0, 0)
        rows = pd.DataFrame(found.x, columns=list(opened.model.columns))
        made = pd.DataFrame(x[None], columns=list(opened.model.columns))
        st.dataframe(made, hide_index=True)
        axes = parts.plane(opened, rows, "posterior")
        parts.figure(figures.among(rows, made, axes, label="made", behind="posterior"))
