"""The page as Streamlit runs it, anew at each change of a control."""

import sys

from flow_models.explore import app

app.show(sys.argv[1])
