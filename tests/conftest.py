"""Fixtures of all tests: real servers and small flows."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import flow_models  # noqa: E402, F401  (chooses Keras 2 before TensorFlow is loaded)
