"""The posterior of one observation for the page: draws, data that they predict, and warnings."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import time
from typing import Any

import numpy as np

from flow_models.applications.inverse import study
from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.explore.opened import Opened

EXAMPLES = 20  # observations that are offered
SIMULATED = 1000  # data that others are compared with
PREDICTED = 200  # draws whose data are predicted
RESAMPLED = 20  # draws whose data come from those that the model keeps
PATIENCE = 0.4  # s that a simulator of the user's own may take


@dataclasses.dataclass(frozen=True)
class Background:
    """What a posterior is compared with, computed once.

    Attributes:
      observations: name -> data [M]; those of the user first.
      simulated: data of the prior [R, M].
      prior: parameters of the prior [R, P]; None where pairs are all there is.
      scores: of the simulated data, higher is stranger; None where the model has no density of
        data.
    """

    observations: dict[str, np.ndarray]
    simulated: np.ndarray
    prior: np.ndarray | None
    scores: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Posterior:
    """Draws of the posterior of data y [M], in the user's units.

    Attributes:
      x: parameters [S, P].
      predicted: data [K, M'] of some draws; none where they cannot be simulated in time.
      p_value: of the data among simulated ones; None where the model cannot say it.
    """

    y: np.ndarray
    x: np.ndarray
    predicted: np.ndarray
    p_value: float | None


def background(opened: Opened) -> Background:
    """Examples of observations, and simulated data."""
    model = opened.model
    prior: np.ndarray | None
    if model.simulator.simulates:
        from flow_models.applications.inverse.problem import draw

        pairs = draw(model.simulator, SIMULATED, 17, 5)
        simulated, prior = pairs.y, _physical(model, pairs.theta)
    else:
        kept = model.codecs["y"].of_prior
        if kept is None:
            raise UserError("this model was saved without data to look at: train it anew")
        simulated, prior = np.asarray(kept[:SIMULATED]), _prior(opened)
    names = [f"simulated {number + 1}" for number in range(EXAMPLES)]
    examples = dict(zip(names, simulated))
    return Background({**_own(opened), **examples}, simulated, prior, _scores(model, simulated))


def _physical(model, theta) -> np.ndarray:
    return np.asarray(model.codec.decode(theta))


def _scores(model, simulated) -> np.ndarray | None:
    try:
        return model.anomaly_score(simulated)
    except UserError:
        return None


def _own(opened: Opened) -> dict[str, np.ndarray]:
    """The user's data that the run was made for."""
    from flow_models.applications.inverse.inference_data import OF_OBSERVED

    path = storage.join(opened.place, OF_OBSERVED)
    if storage.is_s3(path) or not os.path.exists(path):
        return {}
    import xarray

    with xarray.open_dataset(path, group="observed_data", engine="h5netcdf") as found:
        rows = np.atleast_2d(found["y"].values)
    names = ["your data"] + [f"your data, row {number + 1}" for number in range(1, len(rows))]
    return dict(zip(names, rows))


def _problem(opened: Opened):
    """The user's simulator of an `infer` run; None where it is not there any more."""
    from flow_models.simulators.user_problem import UserProblem

    try:
        return UserProblem.read(opened.config["problem"])
    except (KeyError, UserError):
        return None


def _prior(opened: Opened) -> np.ndarray | None:
    problem = _problem(opened)
    return None if problem is None else problem.prior(SIMULATED, (17, 5))


def posterior(
    opened: Opened, known: Background, y: np.ndarray, n: int, temperature: float, seed: int
) -> Posterior:
    """n draws of the posterior of y [M]; warns where y is unlike the simulations.

    Raises:
      UserError: y is not finite.
    """
    model = opened.model
    x = model.posterior(y, n, seed=seed, sampling_temperature=temperature)
    p = None
    if known.scores is not None:
        p = float(study.p_values(model, y[None], known.scores)[0])
    return Posterior(y, x, predictions(opened, x[:PREDICTED]), p)


def predictions(opened: Opened, x: np.ndarray) -> np.ndarray:
    """Data of parameters x [K, P]: without noise by a simulator of ours, by the user's own as many
    as it makes in `PATIENCE` seconds."""
    simulator = opened.model.simulator
    if simulator.simulates:
        theta = opened.model.codec.encode(x, opened.model.dtype.as_numpy_dtype).rows
        found = np.asarray(_forward(simulator)(theta[np.isfinite(theta).all(1)]))
    else:
        found = _by_user(opened, x)
    return found[np.isfinite(found).all(1)]


@functools.lru_cache(maxsize=4)
def _forward(simulator) -> Any:
    import tensorflow as tf

    return tf.function(simulator.forward, jit_compile=False, autograph=False)


def _by_user(opened: Opened, x: np.ndarray) -> np.ndarray:
    """By the user's simulator, or, where its file is not there, by Bayes' rule on the data that the
    model keeps."""
    from flow_models.simulators.user_problem import simulate

    problem, found = _problem(opened), []
    none = np.empty((0, opened.model.simulator.data_size))
    if problem is None:
        with contextlib.suppress(UserError):  # too few data of the prior are like these
            return opened.model.predict(x[:RESAMPLED], 10).reshape(-1, none.shape[1])
        return none
    end = time.perf_counter() + PATIENCE
    for number, row in enumerate(x):
        data = simulate(problem.path, problem.function, row.astype(np.float64), (3, number))[0]
        if len(data):
            found.append(data)
        if time.perf_counter() > end:
            break
    return np.array(found) if found else none


def quantiles(opened: Opened, x: np.ndarray):
    """Mean, sd and quantiles of draws [S, P], a row a parameter."""
    import pandas as pd

    ends = np.quantile(x, (0.05, 0.5, 0.95), axis=0)
    columns = {"mean": x.mean(0), "sd": x.std(0), "5%": ends[0], "median": ends[1], "95%": ends[2]}
    return pd.DataFrame({"parameter": list(opened.model.columns), **columns})
