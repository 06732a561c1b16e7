"""Views of events: the way from one to another, and one among the held-out ones."""

from __future__ import annotations

import numpy as np
import streamlit as st

from flow_models.diagnostics import anomaly, generation
from flow_models.explore import figures, judged, parts
from flow_models.explore.opened import NLL, Opened, as_frame

STEPS = 21  # of a way, both ends included
SHOWN = 7  # of them in the strip
TITLES = {NLL: "-log p(x), nats", "likelihood_ratio": "likelihood ratio, nats"}


def show_between(opened: Opened) -> None:
    """The way between two events through the latents."""
    ends = []
    for column, name, number in zip(st.columns(2), "AB", (1, 2)):
        with column:
            st.markdown(f"**{name}**")
            ends.append(parts.choose(opened, name, number))
    kind = st.radio("Way", generation.KINDS[::-1], horizontal=True, key="way")
    at = st.slider("From A to B", 0.0, 1.0, 0.5, 1 / (STEPS - 1), key="fraction")
    if any(each is None for each in ends):
        return
    number = round(at * (STEPS - 1))
    if opened.kind == "pictures":
        return _strip(opened, np.concatenate(ends), kind, number)
    import pandas as pd

    columns = opened.model.columns
    both = pd.concat([as_frame(end, columns) for end in ends], ignore_index=True)
    way = as_frame(generation.path(opened.model, both, STEPS, kind), columns)
    st.dataframe(way.iloc[[number]], hide_index=True)
    axes = parts.plane(opened, opened.shown, "between")
    parts.figure(figures.among(opened.shown, way, axes, label="the way", at=number))


def _strip(opened: Opened, ends, kind: str, number: int) -> None:
    from flow_models.data.images.export import sheet

    way = opened.model.codec.samples(generation.path(opened.model, ends, STEPS, kind))
    parts.picture(way[number])
    some = np.linspace(0, STEPS - 1, SHOWN).round().astype(int)
    parts.picture(sheet(way[some], SHOWN))


def show_one(opened: Opened) -> None:
    """One row or picture: its score, where it lies, and what drives it."""
    left, right = st.columns([1, 2])
    with left:
        chosen = parts.choose(opened, "one")
        if chosen is None:
            return
        if opened.kind == "pictures":
            parts.picture(chosen[0])
    if opened.kind == "rows":
        st.caption("Cells can be changed.")
        chosen = parts.edited(opened, chosen, "one-row")
    with right:
        found = judged.judge(opened, chosen)
        _scores(opened, found)
        _drivers(opened, chosen)


def _scores(opened: Opened, found: judged.Judged) -> None:
    if found.reason:
        st.warning(f"log p is not finite: {found.reason}")
    names = [name for name in found.tails if np.isfinite(found.scores[name])]
    if not names:
        return
    name = names[0]
    if len(names) > 1:
        first = names.index(anomaly.best(names))
        name = st.selectbox("Score", names, first, _titled, key="score")
    score, tail = found.scores[name], found.tails[name]
    one, two = st.columns(2)
    one.metric(_titled(name), f"{score:.4g}")
    two.metric("held-out at least as strange", f"{tail:.2%}")
    if tail < 0.05:
        st.warning("Stranger than 95% of what the model was not trained on but knows.")
    parts.figure(figures.place(opened.held[name], score, _titled(name)))


def _titled(name: str) -> str:
    return TITLES.get(name, name.replace("_", " "))


def _drivers(opened: Opened, chosen) -> None:
    gains = judged.drivers(opened, chosen)
    if opened.kind == "pictures":
        parts.figure(figures.over(chosen[0], gains))
        st.caption("Nats that log p gains if a patch alone is that of a known picture.")
        return
    label = "nats that log p gains if the column alone has its most probable value"
    parts.figure(figures.bars(list(opened.model.columns), gains, label))
