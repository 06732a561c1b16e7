"""MLflow: beside a run, or after it."""

from flow_models.runs.tracking.tracker import Tracker, upload

__all__ = ["Tracker", "upload"]
