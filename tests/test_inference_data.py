"""Posteriors as ArviZ takes them."""

import warnings

import numpy as np
import pytest

import flow_models as fm
from flow_models.applications.inverse.inference_data import as_netcdf

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import arviz

NAMES = ["speed_m/s", "angle_rad"]


def draws(*lead):
    return np.random.default_rng(0).normal([3.0, -1.0], [2.0, 0.5], (*lead, 2))


def test_arviz_summarises_named_variables(tmp_path):
    found = fm.to_inference_data(draws(4000), NAMES, y=[1.0, 2.0, 3.0], reference=draws(500))
    path = tmp_path / "posterior.nc"
    path.write_bytes(as_netcdf(found))
    again = arviz.from_netcdf(path)
    summary = arviz.summary(again.posterior)
    assert list(summary.index) == ["speed_m_per_s", "angle_rad"]
    np.testing.assert_allclose(summary["mean"], [3, -1], atol=0.1)
    np.testing.assert_allclose(summary["sd"], [2, 0.5], atol=0.1)
    assert again.reference.sizes["draw"] == 500
    assert list(again.observed_data["y"].values) == [1, 2, 3]
    assert len(arviz.plot_pair(again, var_names=["angle_rad", "speed_m_per_s"]).get_figure().axes)


def test_several_observations_are_a_dimension():
    x = draws(3, 100)
    found = fm.to_inference_data(x, NAMES, y=np.arange(6).reshape(3, 2), data_names=["a", "b"])
    second = found.posterior.isel(observation=1, chain=0)
    np.testing.assert_array_equal(second["angle_rad"], x[1, :, 1])
    assert found.observed_data.sizes == {"observation": 3, "datum": 2}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(samples=np.zeros((10, 3))), r"samples must have shape \[S, 2\]"),
        (dict(samples=np.zeros(2)), r"samples must have shape \[S, 2\]"),
        (dict(samples=np.zeros((9, 2)), reference=np.zeros((9, 1))), "reference must have shape"),
        (dict(samples=np.zeros((9, 2)), y=np.zeros(3), data_names=["a"]), "1 names for 3 data"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(fm.UserError, match=message):
        fm.to_inference_data(names=NAMES, **arguments)
