"""Posteriors of a network against exact ones, over many observations: what the script of
application 5 reports."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import sys
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from flow_models.applications.inverse.study import corrected
from flow_models.diagnostics.two_sample import bootstrap_mean, mmd_squared
from flow_models.references import cache as reference_cache
from flow_models.references.correction import gauss_newton

COLUMNS = (
    "posterior",
    "observations",
    "re-simulation, mean",
    "median",
    "MMD^2, mean",
    "low",
    "high",
    "lower quartile",
    "median",
    "upper quartile",
    "seconds to sample",
)
TABLE = (
    "Against exact posteriors: mean squared distance of F(x) to y; unbiased MMD^2, 95% interval of"
    " its mean, quartiles"
)
TAIL = "Observations with the largest errors"
SHOWN = 10  # of them
NEWTON_STEPS = 3


@dataclasses.dataclass(frozen=True)
class Exact:
    """Observations y [B, M] and samples x [B, n, P] of their exact posteriors, with effective
    sample sizes [B]."""

    y: np.ndarray
    x: np.ndarray
    sizes: np.ndarray

    def first(self, n: int) -> Exact:
        return Exact(self.y[:n], self.x[:n], self.sizes[:n])


@dataclasses.dataclass(frozen=True)
class Errors:
    """Of one kind of samples, a number an observation."""

    mmd: np.ndarray
    resimulation: np.ndarray

    def metrics(self, suffix: str = "") -> dict[str, float]:
        mean, low, high = bootstrap_mean(self.mmd)
        quartiles = np.quantile(self.mmd, (0.25, 0.5, 0.75))
        found = {
            "posterior_mmd": mean,
            "posterior_mmd_low": low,
            "posterior_mmd_high": high,
            **dict(
                zip(("posterior_mmd_q25", "posterior_mmd_median", "posterior_mmd_q75"), quartiles)
            ),
            "resimulation_mse": self.resimulation.mean(),
            "resimulation_mse_median": np.median(self.resimulation),
        }
        return {name + suffix: float(value) for name, value in found.items()}

    def row(self, name: str, seconds: float) -> tuple:
        found = self.metrics()
        keys = (
            "resimulation_mse",
            "resimulation_mse_median",
            "posterior_mmd",
            "posterior_mmd_low",
            "posterior_mmd_high",
            "posterior_mmd_q25",
            "posterior_mmd_median",
            "posterior_mmd_q75",
        )
        return (name, len(self.mmd), *(found[key] for key in keys), seconds)

    def tail(self, names, y: np.ndarray, spread: np.ndarray) -> tuple:
        """The table of the largest errors: observation, its errors, the share of their sum, mean sd
        of the exact posterior."""
        worst = np.argsort(-self.mmd)[:SHOWN]
        rows = [
            (*y[i], self.mmd[i], self.mmd[i] / self.mmd.sum(), self.resimulation[i], spread[i])
            for i in worst
        ]
        return TAIL, (*names, "MMD^2", "share of the sum", "re-simulation", "mean sd"), rows


def exact_samples(
    simulator, sampler: Callable, y: np.ndarray, n: int, seed: int, folder: str = ""
) -> Exact:
    """Of sampler(y, n, seed), kept on disk by a hash of all that goes in: it takes minutes once."""
    key = hashlib.sha256(
        f"{type(simulator).__name__} {sampler.__module__} {n} {seed}".encode() + y.tobytes()
    ).hexdigest()[:16]
    path = os.path.join(reference_cache.folder_of(folder), f"exact-{key}.npz")
    kept = reference_cache.load(path)
    if kept and {"x", "sizes"} <= set(kept):
        return Exact(y, kept["x"], kept["sizes"])
    parts = [
        sampler(y[i : i + 20], n, seed + i)
        for i in tqdm(
            range(0, len(y), 20), "exact posteriors", disable=not sys.stderr.isatty(), leave=False
        )
    ]
    x, sizes = (np.concatenate(each) for each in zip(*parts))
    reference_cache.save(path, {"x": x, "sizes": sizes})
    return Exact(y, x, sizes)


@functools.lru_cache(maxsize=8)
def _compiled_forward(simulator):
    return tf.function(
        lambda t: (simulator.physical(t), simulator.forward(t)), jit_compile=True, autograph=False
    )


def errors(simulator, theta: np.ndarray, exact: Exact) -> Errors:
    """Of whitened samples [B, n, P]."""
    forward = _compiled_forward(simulator)
    mmd, resimulation = [], []
    for samples, y, x in tqdm(
        list(zip(theta, exact.y, exact.x)), "errors", disable=not sys.stderr.isatty(), leave=False
    ):
        ours, data = (np.asarray(part) for part in forward(tf.constant(samples)))
        mmd.append(mmd_squared(ours, x))
        resimulation.append(np.square(data - y).sum(-1).mean())
    return Errors(np.array(mmd), np.array(resimulation))


def reweighted_onto_the_data(model, y: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Importance resampling under the tolerance, then Gauss-Newton steps: samples [B, n, P], and
    effective sizes [B]."""
    theta, sizes, *_ = corrected(model, y, n)
    return gauss_newton(model.simulator, theta, y, NEWTON_STEPS), sizes
