"""Look at a trained model in the browser: move latents, drop in rows or pictures, edit data.

    python -m flow_models explore runs/flowmodels1/latest
    python -m flow_models explore runs/flowmodels6/latest --port 8600 --no-browser

The page is served to this machine alone and loads nothing from elsewhere. It needs Streamlit:
pip install streamlit. Ctrl-C ends it. doc/explorer.md says what is on it.
"""

from __future__ import annotations

import argparse

from flow_models.core.errors import UserError
from flow_models.core.installed import package


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = "port on 127.0.0.1 (default: a free one)"
    parser.add_argument("--port", type=int, default=0, metavar="N", help=what)
    parser.add_argument(
        "--no-browser", action="store_true", help="print the address, and open no browser"
    )


def run(given: argparse.Namespace) -> None:
    if not 0 <= given.port < 2**16:
        raise UserError(f"--port is {given.port}, must be below 65536")
    package("streamlit")
    from flow_models.explore import opened, server

    opened.check(given.model)
    server.serve(given.model, given.port, not given.no_browser)
