"""Normalizing flows for real work: one engine, seven applications.

Direction, stated once. The invertible network `f` carries data to latents: `z = f(x)` is *forward*,
sampling is *inverse*, `x = f^-1(z)`. Log-determinants are of the direction that is run. Densities
are natural logarithms, in nats
per event:

    log p(x) = log N(f(x); 0, I) + log |det df/dx|

For TensorFlow Probability, whose convention is latent to data, the density is
`tfd.TransformedDistribution(base, tfb.Invert(f))`.

Names are loaded when they are first used, so `import flow_models` costs nothing.
"""

import importlib
import os

from flow_models.core.startup import compile_fast_on_cpu

# TFP works with Keras 2 only; Keras 3, the alternative, also brings scikit-learn and pyplot into
# every import of TensorFlow (1.5 s here).
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
compile_fast_on_cpu()

__version__ = "0.1.0"

_HOME = {
    "FlowModel": "models.model",
    "ClassModel": "models.class_model",
    "load": "models.model",
    "PosteriorModel": "models.posterior_model",
    "fit_posterior": "applications.own_problem",
    "Detector": "models.detector",
    "load_detector": "models.detector",
    "Partition": "models.partition",
    "Images": "models.codecs",
    "FitSettings": "training.settings",
    "TrainingDiverged": "training.trainer",
    "fit": "training.trainer",
    "Trainer": "training.trainer",
    "UserError": "core.errors",
    "FlowBijector": "bijectors",
    "realnvp": "architectures.vectors",
    "spline_coupling": "architectures.vectors",
    "maf": "architectures.vectors",
    "iaf": "architectures.vectors",
    "glow": "architectures.vectors",
    "glow_image": "architectures.images",
    "realnvp_image": "architectures.images",
    "flat_realnvp": "architectures.images",
}
_MODULES = {
    "architectures": "architectures",
    "bijectors": "bijectors",
    "data": "data",
    "diagnostics": "diagnostics",
    "losses": "training.losses",
    "networks": "bijectors.networks",
    "plots": "plots",
}
__all__ = [*_HOME, *_MODULES]


def __getattr__(name: str):
    if (
        name in _HOME
        and _HOME[name] not in ("core.errors", "training.settings")
        or name in _MODULES
        and name != "data"
    ):
        from flow_models.core.startup import load_tensorflow

        load_tensorflow()
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{_MODULES[name]}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
