"""The view of classes: p(class | x), and the same latents in other classes."""

from __future__ import annotations

import streamlit as st

from flow_models.explore import figures, latents, parts
from flow_models.explore.opened import Opened

ACROSS = 5  # pictures in a row


def show(opened: Opened) -> None:
    """Probabilities of the classes of an event, and what its latents are in each class."""
    names = list(opened.model.classes)
    left, right = st.columns([1, 2])
    with left:
        chosen = parts.choose(opened, "classes")
        if chosen is None:
            return
        if opened.kind == "pictures":
            parts.picture(chosen[0])
    if opened.kind == "rows":
        chosen = parts.edited(opened, chosen, "class-row")
    shares = opened.model.classify(chosen)[0]
    with right:
        best = int(shares.argmax())
        st.metric(f"most probable class, p = {shares[best]:.3f}", names[best])
        parts.figure(figures.bars(names, shares, "p(class | x)"))
    st.markdown("**The same z in each class**")
    _in_others(opened, chosen, names)


def _in_others(opened: Opened, chosen, names: list[str]) -> None:
    made = latents.in_other_classes(opened, chosen)
    if opened.kind == "rows":
        made.insert(0, "class", names)
        st.dataframe(made, hide_index=True)
        axes = parts.plane(opened, opened.shown, "classes")
        parts.figure(figures.among(opened.shown, made, axes, label="in each class"))
        return
    places = [column for _ in range(0, len(names), ACROSS) for column in st.columns(ACROSS)]
    for place, image, name in zip(places, made, names):
        with place:
            parts.picture(image, name)
