"""Recorded noise under simulated seismograms: what the benchmark estimates, cuts out and adds."""

import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import real_noise

RECORDS = [np.random.default_rng(i).normal(size=n) for i, n in enumerate((4000, 6000))]


def smoothed(record):
    """Noise with autocorrelation (3 - lag) / 3."""
    return np.convolve(record, np.ones(3) / np.sqrt(3), "valid")


def test_the_autocorrelation_of_moving_averages():
    found = real_noise.autocorrelation([smoothed(record) for record in RECORDS], 6)
    np.testing.assert_allclose(found, [1, 2 / 3, 1 / 3, 0, 0, 0], atol=0.05)


def test_the_residual_decorrelates_noise_of_the_estimated_autocorrelation():
    correlation = tuple(real_noise.autocorrelation([smoothed(record) for record in RECORDS], 10))
    simulator = real_noise.EstimatedNoise(samples=10, sigma=0.01, autocorrelation=correlation)
    theta = tf.zeros([20000, simulator.size], tf.float64)
    clean = simulator.forward(theta)
    y = simulator.observe(clean, (1, 2))
    noise = (y[:, :-1] - clean).numpy()[:, :10] / 0.01
    lag = np.abs(np.subtract.outer(np.arange(10), np.arange(10)))
    np.testing.assert_allclose(np.cov(noise.T), np.array(correlation)[lag], atol=0.05)
    np.testing.assert_allclose(
        np.cov(simulator.residual(theta, y).numpy().T), np.eye(40), atol=0.05
    )


def test_segments_are_pieces_of_the_records():
    records = [np.arange(100.0), 1000 + np.arange(80.0)]
    found = real_noise.segments(records, 50, 4, 12, 1).reshape(-1, 12)
    assert (np.diff(found, axis=1) == 1).all() and (found < 100).any() and (found >= 1000).any()
    np.testing.assert_array_equal(found, real_noise.segments(records, 50, 4, 12, 1).reshape(-1, 12))


def test_windows_of_the_package_are_quiet_and_of_unit_variance():
    for package in ("rf", "obspy"):
        pytest.importorskip(package, reason="pip install -r requirements-demo.txt")
    events = real_noise.windows()
    assert len(events) == 12 and all(len(event) == 3 for event in events)  # of 13, one has spikes
    for record in (record for event in events for record in event):
        assert len(record) > 300 and record.std() == pytest.approx(1) and abs(record.mean()) < 1e-9
        half = len(record) // 2
        assert record[half:].std() < 1.6  # no P wave at its end
    assert real_noise.autocorrelation(events[0], 4)[1] > 0.9
