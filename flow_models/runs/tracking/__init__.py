"""Runs in MLflow: sent while they train (`Tracker`) or afterwards (`upload`)."""

from flow_models.runs.tracking.tracker import Tracker
from flow_models.runs.tracking.uploads import upload

__all__ = ["Tracker", "upload"]
