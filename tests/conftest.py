"""Fixtures shared by tests."""

import os
import re

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


VARIANT = re.compile(r"\[(conditional_|reversible_|continuous|refined)|loop")
COSTLY = ("test_log_det_is_that_of_the_autodiff_jacobian", "test_compiled_equals_eager")


def pytest_collection_modifyitems(items):
    """Of a layer's variants, the costly checks of all but the plain one are slow."""
    for item in items:
        if item.path.name == "test_bijectors.py" and item.name.startswith(COSTLY):
            if VARIANT.search(item.name):
                item.add_marker(pytest.mark.slow)
