"""Fixtures shared by tests."""

import os

import pytest
from mlflow_server import MlflowServer

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import flow_models  # noqa: F401  (chooses Keras 2 before TensorFlow is loaded)


@pytest.fixture(scope="session")
def tracking_server(tmp_path_factory):
    """An MLflow server, one for all tests."""
    running = MlflowServer(tmp_path_factory.mktemp("mlflow")).start()
    yield running
    running.stop()


def pytest_collection_modifyitems(items):
    """Jacobians through a solver, number by number, take a minute."""
    for item in items:
        if item.name == "test_log_det_is_that_of_the_autodiff_jacobian[conditional_continuous]":
            item.add_marker(pytest.mark.slow)
