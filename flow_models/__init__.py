"""Normalizing flows for real work: one engine, seven applications.

Direction, stated once. The invertible network `f` carries data to latents: `z = f(x)` is *forward*,
sampling is *inverse*, `x = f^-1(z)`. Each call returns the log-determinant of its own direction.
Densities are natural logarithms, in nats per event:

    log p(x) = log N(f(x); 0, I) + log |det df/dx|

The convention of TensorFlow Probability is latent to data; its density for the same flow is
`tfd.TransformedDistribution(base, tfb.Invert(f))`.

Every name is loaded at its first use, so `import flow_models` is instant.
"""

import ast
import importlib
import os
from typing import TYPE_CHECKING

from flow_models.core.startup import compile_fast_on_cpu

# TFP works with Keras 2 only; Keras 3, the alternative, also brings scikit-learn and pyplot into
# every import of TensorFlow (1.5 s here).
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
compile_fast_on_cpu()

__version__ = "0.1.0"

if TYPE_CHECKING:  # the table of public names: read by editors and checkers, and by _table below
    from flow_models import architectures as architectures
    from flow_models import bijectors as bijectors
    from flow_models import data as data
    from flow_models import diagnostics as diagnostics
    from flow_models import plots as plots
    from flow_models.applications.application import Application as Application
    from flow_models.applications.application import Results as Results
    from flow_models.applications.application import Training as Training
    from flow_models.applications.application import run as run
    from flow_models.applications.inverse.inference_data import (
        to_inference_data as to_inference_data,
    )
    from flow_models.applications.own_problem import fit_posterior as fit_posterior
    from flow_models.architectures.images import flat_realnvp as flat_realnvp
    from flow_models.architectures.images import glow_image as glow_image
    from flow_models.architectures.images import realnvp_image as realnvp_image
    from flow_models.architectures.vectors import glow as glow
    from flow_models.architectures.vectors import iaf as iaf
    from flow_models.architectures.vectors import maf as maf
    from flow_models.architectures.vectors import realnvp as realnvp
    from flow_models.architectures.vectors import spline_coupling as spline_coupling
    from flow_models.bijectors import FlowBijector as FlowBijector
    from flow_models.bijectors import networks as networks
    from flow_models.core.errors import UserError as UserError
    from flow_models.estimators.classifier import FlowClassifier as FlowClassifier
    from flow_models.estimators.density import FlowDensity as FlowDensity
    from flow_models.estimators.density import FlowOutlierDetector as FlowOutlierDetector
    from flow_models.models.codecs import Codec as Codec
    from flow_models.models.codecs import Noise as Noise
    from flow_models.models.columns import Columns as Columns
    from flow_models.models.detector import Detector as Detector
    from flow_models.models.detector import load_detector as load_detector
    from flow_models.models.keras_layer import keras_layer as keras_layer
    from flow_models.models.labels import Labels as Labels
    from flow_models.models.loading import load as load
    from flow_models.models.model import Model as Model
    from flow_models.models.partition import Partition as Partition
    from flow_models.models.pixels import Pixels as Pixels
    from flow_models.models.problem import Data as Data
    from flow_models.models.problem import Parameters as Parameters
    from flow_models.runs.config import RunSettings as RunSettings
    from flow_models.runs.config import settings as settings
    from flow_models.training import losses as losses
    from flow_models.training.density import fit_density as fit_density
    from flow_models.training.paths import flow_matching as flow_matching
    from flow_models.training.settings import FitSettings as FitSettings
    from flow_models.training.trainer import Trainer as Trainer
    from flow_models.training.trainer import TrainingDiverged as TrainingDiverged
    from flow_models.training.trainer import fit as fit

_WITHOUT_TENSORFLOW = (
    "flow_models.applications.application",
    "flow_models.core.errors",
    "flow_models.runs.config",
    "flow_models.training.settings",
)


def _table() -> dict[str, str]:
    """Public name -> the module that it is imported from, as the block above lists them."""
    with open(__file__, encoding="utf-8") as file:
        block = next(node for node in ast.parse(file.read()).body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {node.names[0].name: node.module or "" for node in imports}


_HOME = _table()
__all__ = list(_HOME)

if not TYPE_CHECKING:  # a checker that sees this function takes any name for one of ours

    def __getattr__(name: str):
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = _HOME[name]
        if home not in _WITHOUT_TENSORFLOW and name != "data":
            from flow_models.core.startup import load_tensorflow

            load_tensorflow()
        found = vars(importlib.import_module(home))
        return found[name] if name in found else importlib.import_module(f"{home}.{name}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
