"""Posteriors as ArviZ takes them: named variables, with the reference and the data beside them."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from flow_models.applications.application import Run
from flow_models.core.errors import UserError

if TYPE_CHECKING:
    from arviz import InferenceData

OF_TEST, OF_OBSERVED = "posteriors.nc", "posterior_observed.nc"  # files of a run
MOST = 100  # observations in a file of a run


def to_inference_data(
    samples,
    names: Sequence[str],
    *,
    y=None,
    data_names: Sequence[str] | None = None,
    reference=None,
) -> InferenceData:
    """Posterior samples [S, P] of one observation, or [B, S, P] of several, for ArviZ.

    Independent samples are one chain. Several observations are a dimension `observation` of each
    variable.

    Args:
      names: of the parameters; a "/" becomes "_per_", which netCDF asks for.
      y: the data [M] or [B, M], the group `observed_data`.
      data_names: of the data.
      reference: samples [R, P] or [B, R, P] of a reference sampler, a group `reference`.

    Raises:
      UserError: names or arrays that do not fit.

    Example:
      >>> found = to_inference_data(model.posterior(y, 4000), model.columns, y=y)
      >>> arviz.plot_pair(found)
    """
    import xarray

    groups = {"posterior": _variables(samples, names, "samples")}
    if reference is not None:
        groups["reference"] = _variables(reference, names, "reference")
    if y is not None:
        y = np.asarray(y)
        data_names = data_names or [f"y{i + 1}" for i in range(y.shape[-1])]
        if len(data_names) != y.shape[-1]:
            raise UserError(f"{len(data_names)} names for {y.shape[-1]} data")
        dims = ("observation", "datum")[-y.ndim :]
        data = xarray.Dataset({"y": (dims, y)}, {"datum": list(data_names)})
        groups["observed_data"] = data
    return _arviz().InferenceData(**groups, warn_on_custom_groups=False)


def _arviz():
    """The package, without the advertisement of its next version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import arviz
    return arviz


def write(run: Run, file: str, x: np.ndarray, y: np.ndarray, reference=None) -> None:
    """Writes samples x [B, S, P] for data y [B, M] of a run, the first MOST observations."""
    simulator = run.problem.simulator
    found = to_inference_data(
        x[:MOST],
        simulator.parameter_names,
        y=y[:MOST],
        data_names=simulator.data_names,
        reference=None if reference is None else reference[:MOST],
    )
    run.folder.write_bytes(file, as_netcdf(found))


def _variables(samples, names, what):
    """A dataset of samples [S, P] or [B, S, P], a variable a parameter."""
    import xarray

    samples = np.asarray(samples)
    if samples.ndim not in (2, 3) or samples.shape[-1] != len(names):
        raise UserError(
            f"{what} must have shape [S, {len(names)}] or [B, S, {len(names)}], got"
            f" {list(samples.shape)}"
        )
    dims = ("chain", "draw") if samples.ndim == 2 else ("chain", "draw", "observation")
    rows = samples if samples.ndim == 2 else samples.swapaxes(0, 1)
    named = {name.replace("/", "_per_"): rows[None, ..., i] for i, name in enumerate(names)}
    sizes = {"chain": [0], "draw": np.arange(len(rows))}
    return xarray.Dataset({name: (dims, values) for name, values in named.items()}, sizes)


def as_netcdf(found: InferenceData) -> bytes:
    """The content of the file that `arviz.from_netcdf` reads."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "posterior.nc")
        found.to_netcdf(path, engine="h5netcdf")
        with open(path, "rb") as file:
            return file.read()
