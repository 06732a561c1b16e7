"""A training of so many minutes: as many steps as fit, a schedule that fits them, and what the
progress line says of the end."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import flow_models as fm
from flow_models.core.errors import FlowModelsWarning
from flow_models.training import pace
from flow_models.training.optimizer import learning_rate
from flow_models.training.reverse_kl import Latents
from flow_models.training.trainer import Trainer

TIMED = fm.FitSettings(
    steps=10**6, minutes=1.0, batch_size=50, warmup_steps=5, jit=False, eval_every_steps=25
)
STEP, COMPILE, ROW = 0.2, 10.0, 1.0  # seconds, of a clock that work alone moves


def data(n=1000, seed=0):
    a = np.random.default_rng(seed).normal(size=n)
    return np.stack([a, 0.5 * a**2], 1).astype("f") + 0.3


def model():
    return fm.Model(fm.architectures.build("realnvp", 2, depth=2, hidden=(16, 16)))


class Clock:
    """Stands for `time` in the trainer: steps, compilation and evaluations take what is said."""

    def __init__(self, monkeypatch):
        self.now, self.compiled = 0.0, None
        monkeypatch.setattr("flow_models.training.trainer.time", self)

    def perf_counter(self):
        return self.now

    def train(self, settings, folder=None, resume=False, stop=None):
        """A training in this time, interrupted at a step where one is told."""
        trainer = Trainer(model(), data(), data(seed=1), settings, folder=folder, resume=resume)
        compiled, calls = trainer.steps.compiled, []

        def call(*arguments):
            calls.append(int(arguments[5]))
            self.now += STEP * calls[-1] + (COMPILE if len(calls) == 1 else 0.0)
            return compiled(*arguments)

        def on_epoch(row):
            self.now += ROW
            if stop and row["step"] >= stop:
                raise KeyboardInterrupt

        trainer.steps.compiled = call
        return trainer.run(on_epoch, progress=False)


def test_as_many_steps_as_fit_into_the_time_and_a_schedule_that_fits_them(monkeypatch, tmp_path):
    clock = Clock(monkeypatch)
    result = clock.train(TIMED, str(tmp_path))
    steps, rates = result.history["step"], result.history["learning_rate"]
    # of 60 s, 10 for compilation; 25 steps and their evaluation take 6
    assert result.stopped == "finished" and clock.now == pytest.approx(60, abs=1.5)
    assert steps[-1] == pytest.approx(50 / 6 * 25, abs=8)
    assert max(rates) > 0.9 * TIMED.learning_rate and rates[-1] < 0.001 * TIMED.learning_rate
    assert (np.diff(rates) < 0).all()  # though the number of steps was not known
    again = clock.train(TIMED, str(tmp_path), resume=True)
    assert again.history == result.history  # over is over


def test_a_resumed_run_keeps_its_budget(monkeypatch, tmp_path):
    clock = Clock(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        clock.train(TIMED, str(tmp_path), stop=75)
    first = clock.now
    clock.now += 1000.0  # between the sessions no time counts
    result = clock.train(TIMED, str(tmp_path), resume=True)
    assert clock.now - 1000 == pytest.approx(60, abs=1.5) and first < 30
    assert result.train_seconds == pytest.approx(60, abs=1.5)
    assert result.history["learning_rate"][-1] < 0.001 * TIMED.learning_rate
    with pytest.raises(fm.UserError, match="minutes was 1.0 and is now 2.0"):
        clock.train(dataclasses.replace(TIMED, minutes=2.0), str(tmp_path), resume=True)


def test_too_little_time_is_told(monkeypatch):
    with pytest.warns(FlowModelsWarning, match="enough for 2 steps alone"):
        Clock(monkeypatch).train(dataclasses.replace(TIMED, minutes=0.1))


def test_the_progress_line_tells_bits_and_where_they_lead(monkeypatch, capsys):
    """In nats, of vectors; and only once the history says so."""
    clock = Clock(monkeypatch)
    trainer = Trainer(model(), data(), None, dataclasses.replace(TIMED, minutes=0.0, steps=250))
    trainer.run(progress=True)
    shown = capsys.readouterr().err
    assert "about" in shown and "at the end" in shown and "bits" not in shown and clock.now == 0


def test_a_background_model_shares_the_minutes():
    from flow_models.applications.pictures.detection import fit_settings
    from train_flowmodels2 import Config

    fit = fm.FitSettings(steps=100, minutes=3.0)
    assert fit_settings(Config(fit=fit)).minutes == pytest.approx(2.0)
    assert fit_settings(Config(fit=fit)).part(50).minutes == pytest.approx(1.0)
    plain_score = Config(fit=fit, background="none", score="nll")
    assert fit_settings(plain_score) == fit
    plain = fm.FitSettings(steps=101)
    assert fit_settings(Config(fit=plain)) == plain


def test_draws_that_follow_the_steps_refuse_minutes():
    flow = model()
    with pytest.raises(fm.UserError, match="give --steps"):
        Trainer(flow, Latents(flow, 10), None, TIMED)


def test_steps_in_all():
    plain = fm.FitSettings(steps=500)
    assert pace.steps_in_all(plain, 30, 500, 10.0, 0.1, 0.0) == 500
    timed = fm.FitSettings(minutes=1.0, eval_every_steps=10)
    assert pace.steps_in_all(timed, 100, 500, 20.0, 0.1, 0.0) == 500
    assert pace.steps_in_all(timed, 100, 500, 20.0, 0.1, 1.0) == 300  # half of it evaluations
    assert pace.steps_in_all(timed, 100, 500, 61.0, 0.1, 1.0) == 100
    assert timed.part(1000).minutes == pytest.approx(0.2)


def test_a_schedule_of_steps_that_are_a_tensor_is_the_same():
    for schedule in ("constant", "exponential", "cosine"):
        settings = fm.FitSettings(steps=100, warmup_steps=10, schedule=schedule, final_fraction=0.1)
        other = dataclasses.replace(settings, steps=7)
        for step in (0, 5, 10, 60, 100):
            want = learning_rate(settings, tf.constant(step))
            found = learning_rate(other, tf.constant(step), tf.constant(100))
            np.testing.assert_allclose(found, want, rtol=1e-5)


@pytest.mark.parametrize("power", pace.POWERS)
def test_forecast_of_a_power_law(power):
    t = np.arange(20, 420, 20)
    values = 1.5 + 0.2 * (1000 / t) ** power
    assert pace.forecast(t, values, 1000) == pytest.approx(1.7, abs=1e-6)
    assert pace.forecast(t[:3], values[:3], 1000) is None
    rising = pace.forecast(t, np.linspace(1, 2, len(t)), 1000)
    assert rising == pytest.approx(np.linspace(1, 2, len(t))[6:].mean(), rel=1e-6)
