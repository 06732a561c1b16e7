"""The page: which model it is of, what there is to look at, and that view."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import streamlit as st

from flow_models.core.errors import UserError
from flow_models.explore import classes_page, events_page, latents_page, posterior_page
from flow_models.explore import opened as opening
from flow_models.explore.opened import Opened
from flow_models.runs.warned import recorded

STYLE = "<style>.block-container {padding: 2.5rem 1rem 3rem; max-width: 1100px}</style>"
View = Callable[[Opened], None]


def views(opened: Opened) -> dict[str, View]:
    """What there is to look at, by its name on the page."""
    if opened.kind == "posterior":
        return {"Posterior": posterior_page.show, "Latents": posterior_page.show_latents}
    one = "A picture" if opened.kind == "pictures" else "A row"
    found: dict[str, View] = {
        "Latents": latents_page.show,
        "Samples": latents_page.show_samples,
        "Between two": events_page.show_between,
        one: events_page.show_one,
    }
    return found | ({"Classes": classes_page.show} if opened.model.classes else {})


def show(place: str) -> None:
    """Draws the page of the run or model of `place`."""
    st.set_page_config(page_title="flow_models explorer", layout="wide")
    st.markdown(STYLE, unsafe_allow_html=True)
    st.subheader("Explorer")
    st.caption(f"`{place}`")
    with told():
        opened = _opened(place)
        with st.expander("The model"):
            st.code(repr(opened.model), language=None)
        if opened.note:
            st.caption(f"Samples of the model stand for held-out data: {opened.note}.")
        there = views(opened)
        name = st.radio("View", list(there), horizontal=True, key="view")
        with st.spinner("Computing ...", show_time=True):
            there[name](opened)


@st.cache_resource(show_spinner="Opening the model ...")
def _opened(place: str) -> Opened:
    return opening.load(place)


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Shows a mistake of the user as an error, and what the model warns of as warnings."""
    with recorded(speaks=False) as warnings:
        try:
            yield
        except UserError as error:
            st.error(str(error))
    for text in warnings:
        st.warning(text)
