"""Views of latents: as sliders, and drawn at a temperature."""

from __future__ import annotations

import numpy as np
import streamlit as st

from flow_models.explore import figures, latents, parts
from flow_models.explore.opened import Opened, event

STARTS = ("the centre, z = 0", "a random draw", "a held-out event")
FAR = 4.0  # of a slider
DRAWN = 300  # samples of rows


def show(opened: Opened) -> None:
    """Sliders of latents, and the row or picture that they make."""
    left, right = st.columns([1, 2])
    with left:
        label = parts.class_choice(opened, "latents")
        start, name = _start(opened, label)
        z = _sliders(opened, start, name)
    with right:
        made = latents.made(opened, z, parts.one_hot(opened, label))
        if opened.kind == "pictures":
            parts.picture(made[0])
        else:
            _row(opened, made)
        score = float(opened.model.log_prob(made, parts.one_hot(opened, label))[0])
        one, two = st.columns(2)
        one.metric("log p" + (f" given {label}" if label else ""), f"{score:.4g} nats")
        two.metric(f"|z|, about {z.size**0.5:.3g} is usual", f"{np.linalg.norm(z):.4g}")


def _row(opened: Opened, made) -> None:
    st.dataframe(made, hide_index=True)
    axes = parts.plane(opened, opened.shown, "latents")
    parts.figure(figures.among(opened.shown, made, axes, label="made"))


def _start(opened: Opened, label: str | None) -> tuple[np.ndarray, str]:
    """Latents [N] that sliders start from, and their name."""
    kind = st.selectbox("Start from", STARTS, key="start")
    size = opened.model.latent_size
    if kind == STARTS[0]:
        return np.zeros(size), kind
    most = len(opened.known) if kind == STARTS[2] else 10_000
    number = int(st.number_input("Number", 1, most, 1, key=f"start-{STARTS.index(kind)}"))
    if kind == STARTS[1]:
        return np.random.default_rng(number).normal(size=size), f"{kind} {number}"
    chosen = event(opened.known, number - 1)
    return opened.model.encode(chosen, parts.one_hot(opened, label))[0], f"{kind} {number}"


def _sliders(opened: Opened, start: np.ndarray, name: str) -> np.ndarray:
    """Latents [1, N] as the sliders stand."""
    steps = _directions(opened.place, opened)
    rest = latents.at_rest(opened, start, steps)
    names = latents.names(opened, len(steps))
    values = [
        st.slider(text, -FAR, FAR, float(np.clip(at, -FAR, FAR)), 0.05, key=f"{text} from {name}")
        for text, at in zip(names, rest)
    ]
    if len(steps) < len(start) and opened.kind == "rows":
        st.caption(f"The first {len(steps)} of {len(start)} latents.")
    return latents.moved(start, steps, np.clip(rest, -FAR, FAR), values)


@st.cache_resource(show_spinner=False)
def _directions(place: str, _opened: Opened) -> np.ndarray:
    return latents.directions(_opened)


def show_samples(opened: Opened) -> None:
    """Samples at a temperature, among held-out events."""
    left, right = st.columns([1, 2])
    pictures = opened.kind == "pictures"
    with left:
        temperature = st.slider("Temperature", 0.05, 1.5, 1.0, 0.05, key="temperature")
        seed = int(st.number_input("Seed", 0, 10_000, 0, key="seed"))
        count = st.slider("Samples", 4, 64 if pictures else 1000, 16 if pictures else DRAWN)
        label = parts.class_choice(opened, "samples")
    with right:
        drawn = latents.drawn(opened, count, temperature, seed, label)
        if pictures:
            from flow_models.data.images.export import sheet

            return parts.picture(sheet(drawn))
        axes = parts.plane(opened, opened.shown, "samples")
        parts.figure(figures.among(opened.shown, drawn, axes, label="samples"))
        st.dataframe(drawn, hide_index=True, height=200)
