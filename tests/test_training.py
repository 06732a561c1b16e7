"""What training really does: it moves every weight, repeats, resumes exactly, stops, and survives
what goes wrong."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from recipes import architectures

import flow_models as fm
from flow_models.bijectors.layer import leaves
from flow_models.core import archive as serialisation
from flow_models.diagnostics import normality
from flow_models.training.optimizer import adam, initial_moments, learning_rate
from flow_models.training.sources import AHEAD, CHUNK, CHUNK_BYTES, make_source

SMALL = {"depth": 2, "hidden": (16, 16)}
SHORT = fm.FitSettings(steps=60, batch_size=50, eval_every_steps=10, warmup_steps=5)
PLAIN = dataclasses.replace(
    SHORT, jit=False
)  # where XLA is not what is tested: it takes seconds to compile


def data(n=1000, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n)
    return np.stack([a, 0.5 * a**2 + 0.3 * rng.normal(size=n)], 1).astype("f")


def model(seed=0, name="realnvp"):
    return fm.Model(fm.architectures.build(name, 2, seed=seed, bins=4, **SMALL))


def draw(n, seed):
    first, second = tf.unstack(tf.random.split(seed, 2, alg="philox"))
    a = tf.random.stateless_normal([n], first, alg="philox")
    return tf.stack(
        [a, 0.5 * a**2 + 0.3 * tf.random.stateless_normal([n], second, alg="philox")], 1
    )


def without_times(history):
    return {name: column for name, column in history.items() if name != "seconds"}


@pytest.mark.parametrize("name", architectures())
def test_every_weight_moves_and_the_objective_falls(name):
    m = model(name=name)
    trainable = {n: v.numpy() for n, v in leaves(m.weights).items() if v.trainable}
    result = fm.fit(m, data(), data(seed=1), PLAIN)
    after = leaves(m.weights)
    for n, before in trainable.items():
        masked = "lower" in n or "upper" in n or name in ("maf", "iaf", "naf", "umnn")
        moved = after[n].numpy() != before
        assert moved.any() if masked else moved.mean() > 0.5, n
    assert result.history["val_objective"][-1] < result.history["val_objective"][0]
    assert result.history["step"] == [10, 20, 30, 40, 50, 60]


def test_a_linear_gaussian_problem_is_recovered():
    covariance = np.array([[2.0, 1.2], [1.2, 1.0]])
    x = np.random.default_rng(0).multivariate_normal([1, -2], covariance, 20_000).astype("f")
    m = model()
    fm.fit(m, x[:18_000], x[18_000:], fm.FitSettings(steps=800, batch_size=256, learning_rate=5e-3))
    truth = scipy.stats.multivariate_normal([1, -2], covariance)
    gap, error = normality.kl_to_truth(m.log_prob(x[18_000:]), truth.logpdf(x[18_000:]))
    assert gap < 0.01 + 3 * error
    assert abs(np.corrcoef(m.sample(20_000).T)[0, 1] - 1.2 / 2**0.5) < 0.03


def test_equal_seeds_give_equal_runs_and_others_do_not():
    runs = [
        fm.fit(model(), data(), data(seed=1), dataclasses.replace(PLAIN, seed=s)).history
        for s in (3, 3, 4)
    ]
    assert without_times(runs[0]) == without_times(runs[1]) != without_times(runs[2])


class Stop(Exception):
    """Stands for whatever ends a process."""


@pytest.mark.parametrize("source", ["arrays", "simulator", "dataset"])
def test_resuming_continues_exactly(source, tmp_path):
    train = {
        "arrays": data(),
        "simulator": draw,
        "dataset": tf.data.Dataset.from_tensor_slices(data()).batch(50, drop_remainder=True),
    }[source]
    settings = dataclasses.replace(SHORT, checkpoint_seconds=0.0, jit=source == "arrays")
    whole = model()
    expected = fm.fit(whole, train, data(seed=1), settings)

    def stop_at_30(row):
        if row["step"] == 30:
            raise Stop

    with pytest.raises(Stop):
        fm.fit(model(), train, data(seed=1), settings, folder=str(tmp_path), on_epoch=stop_at_30)
    resumed = model(seed=5)
    result = fm.fit(resumed, train, data(seed=1), settings, folder=str(tmp_path), resume=True)
    assert without_times(result.history) == without_times(expected.history)
    for a, b in zip(leaves(whole.weights).values(), leaves(resumed.weights).values()):
        np.testing.assert_array_equal(a, b)
    again = fm.fit(model(), train, data(seed=1), settings, folder=str(tmp_path), resume=True)
    assert without_times(again.history) == without_times(expected.history), (
        "a finished run is given back as it was"
    )


def test_resuming_with_other_settings_or_a_damaged_checkpoint_is_refused(tmp_path):
    fm.fit(model(), data(), None, PLAIN, folder=str(tmp_path))
    for change, word in (
        ({"learning_rate": 0.1}, "learning_rate was 0.004"),
        ({"steps": 70}, "steps was 60"),
    ):
        with pytest.raises(fm.UserError, match=word):
            fm.fit(
                model(),
                data(),
                None,
                dataclasses.replace(PLAIN, **change),
                folder=str(tmp_path),
                resume=True,
            )
    with pytest.raises(fm.UserError, match="training data are others"):
        fm.fit(model(), data(seed=9), None, PLAIN, folder=str(tmp_path), resume=True)
    with pytest.raises(fm.UserError, match="layer is another one"):
        fm.fit(model(name="maf"), data(), None, PLAIN, folder=str(tmp_path), resume=True)
    next(tmp_path.glob("*.npz")).write_bytes(b"x")
    with pytest.raises(fm.UserError, match="checksum"):
        fm.fit(model(), data(), None, PLAIN, folder=str(tmp_path), resume=True)


def test_divergence_names_step_batch_and_checkpoint_and_keeps_it(tmp_path):
    def loss(weights, batch):
        z, log_det = m.layer.forward_and_log_det(weights, batch["x"])
        objective = 0.5 * tf.reduce_sum(z * z, 1) - log_det
        return {"objective": tf.where(tf.reduce_any(batch["x"][:, 0] > 4), np.nan, objective)}

    rows = data()
    order = np.random.default_rng((0, 0)).permutation(1000)  # of the first pass
    rows[order[13 * 50 + 3], 0] = 100.0
    m = model()
    with pytest.raises(
        fm.TrainingDiverged,
        match="at step 13, batch 13 of pass 0: .* NaN or Inf; the last good checkpoint, of step ",
    ) as caught:
        fm.fit(m, rows, None, PLAIN, loss=loss, folder=str(tmp_path))
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    header = serialisation.read_header(str(tmp_path), "checkpoint", "checkpoint")
    arrays = serialisation.read_arrays(str(tmp_path), header, "checkpoint")
    assert 0 < header["step"] <= 13 and all(np.isfinite(a).all() for a in arrays.values())


def test_early_stopping_keeps_the_best_weights(tmp_path):
    train = data(60)
    settings = fm.FitSettings(
        steps=3000,
        batch_size=50,
        eval_every_steps=25,
        learning_rate=0.02,
        patience=4,
        ema=0.0,
        schedule="constant",
        jit=False,
    )
    m = model()
    result = fm.fit(m, train, data(2000, seed=1), settings, folder=str(tmp_path))
    resumed = fm.fit(
        model(), train, data(2000, seed=1), settings, folder=str(tmp_path), resume=True
    )
    assert resumed.stopped == "early" and resumed.history == result.history
    validation = result.history["val_objective"]
    assert result.stopped == "early" and len(validation) < 120
    assert int(np.argmin(validation)) == len(validation) - 1 - settings.patience
    assert abs(-m.log_prob(data(2000, seed=1)).mean() - min(validation)) < 1e-4


def test_the_average_of_the_weights_is_what_is_kept():
    ends = []
    for ema in (0.0, 0.9):
        m = model()
        fm.fit(m, data(), None, dataclasses.replace(PLAIN, ema=ema))
        ends.append(np.concatenate([v.numpy().ravel() for v in leaves(m.weights).values()]))
    assert np.abs(ends[0] - ends[1]).max() > 1e-4


def test_without_xla_training_is_the_same():
    results = [
        fm.fit(model(), data(), None, dataclasses.replace(SHORT, jit=jit)).history
        for jit in (True, False)
    ]
    np.testing.assert_allclose(
        results[0]["train_objective"], results[1]["train_objective"], rtol=1e-4
    )


def test_dictionaries_with_what_is_given():
    partition = fm.Partition(inputs={"x": 2}, outputs={"z": 2}, given={"y": 1})
    m = fm.Model(fm.realnvp(2, condition_size=1, **SMALL), partition)
    x = data(2000)
    rows = {"x": x[:, ::-1] * 0.1 + x[:, :1], "y": x[:, :1]}
    result = fm.fit(m, rows, rows, dataclasses.replace(PLAIN, steps=300))
    assert result.history["val_objective"][-1] < result.history["val_objective"][0] - 0.3


def test_dictionaries_with_y_and_noise_among_the_blocks():
    partition = fm.Partition({"x": 2, "eps": 1}, {"y": 1, "z": 2}, sigma_y=0.3)
    m, x = fm.Model(fm.realnvp(3, **SMALL), partition), data(2000)
    eps = np.random.default_rng(1).normal(size=(2000, 1))
    rows = {"x": x, "eps": eps, "y": x[:, :1] + 0.1 * eps}
    result = fm.fit(m, rows, rows, dataclasses.replace(PLAIN, steps=300))
    assert result.history["val_objective"][-1] < result.history["val_objective"][0] - 0.5
    with pytest.raises(fm.UserError, match="the data have no eps, which the model needs"):
        fm.fit(m, {"x": x, "y": eps}, None, PLAIN)
    with pytest.raises(fm.UserError, match="the model has 1 dimensions of y, the data shape"):
        fm.fit(m, {**rows, "y": x}, None, PLAIN)


@pytest.mark.parametrize(
    "train, message",
    [
        (data(30), "30 training rows are fewer than one batch of 50: set batch_size to at most 30"),
        (np.full((100, 2), np.nan), "data has 100 rows with NaN or Inf, the first is row 0"),
        (np.zeros(100), r"shape \[rows, dimensions\], got \[100\]"),
        (
            np.zeros((100, 3)) + np.arange(100)[:, None],
            "the model has 2 dimensions of x, the data shape",
        ),
        (
            tf.data.Dataset.from_tensor_slices((data(100), data(100))).batch(
                50, drop_remainder=True
            ),
            "got a tuple",
        ),
        (np.stack([np.arange(100.0), np.ones(100)], 1), "column 'x2' is constant"),
        (lambda n, seed: np.zeros((n, 2)), "must be written with TensorFlow"),
        ({"y": data(100)}, "the data have no x"),
        ({"x": data(100), "condition": data(100)}, "the model has no condition"),
        ({"x": data(100), "y": data(100)}, "the model has no y"),
        ("nonsense", "must be an array of numbers"),
        ({"x": data(100), "y": data(99)}, "unequal length"),
        (tf.data.Dataset.from_tensor_slices(data(30)), "empty, or has fewer rows than one batch"),
        (tf.data.Dataset.from_tensor_slices(data(100)).batch(50), "drop_remainder=True"),
    ],
)
def test_wrong_data(train, message):
    with pytest.raises(fm.UserError, match=message):
        fm.fit(model(), train, None, SHORT)


@pytest.mark.parametrize(
    "field, value",
    [
        ("steps", 0),
        ("batch_size", -1),
        ("learning_rate", 0.0),
        ("schedule", "cosin"),
        ("warmup_steps", -1),
        ("ema", 1.0),
        ("beta1", 1.0),
        ("beta2", -0.1),
        ("clip_norm", -1.0),
        ("patience", -1),
        ("seed", -1),
        ("eval_every_steps", -1),
        ("final_fraction", 2.0),
        ("clip_norm", float("nan")),
        ("checkpoint_seconds", -1.0),
        ("microbatches", 3),
    ],
)
def test_wrong_settings(field, value):
    with pytest.raises(fm.UserError, match=field):
        fm.FitSettings(**{field: value})


def test_schedules():
    def rates(**options):
        settings = fm.FitSettings(steps=100, warmup_steps=10, learning_rate=1.0, **options)
        return [float(learning_rate(settings, tf.constant(s))) for s in (0, 4, 9, 10, 55, 100)]

    np.testing.assert_allclose(rates(schedule="constant"), [0.1, 0.5, 1, 1, 1, 1])
    np.testing.assert_allclose(rates(schedule="cosine"), [0.1, 0.5, 1, 1, 0.5, 0], atol=1e-6)
    np.testing.assert_allclose(
        rates(schedule="exponential", final_fraction=0.01), [0.1, 0.5, 1, 1, 0.1, 0.01], rtol=1e-4
    )


def test_adam_is_adam_and_clips_the_global_norm():
    settings = fm.FitSettings(
        steps=10, warmup_steps=0, schedule="constant", learning_rate=0.1, clip_norm=1.0, ema=0.5
    )
    weights = [tf.constant([1.0, 2.0]), tf.constant([[3.0]])]
    gradients = [tf.constant([3.0, 0.0]), tf.constant([[4.0]])]
    moments = initial_moments(weights)
    new, moments, norm = adam(settings, tf.constant(0), weights, gradients, moments)
    assert float(norm) == 5.0
    np.testing.assert_allclose(moments["first"][0], [0.1 * 0.6, 0.0], rtol=1e-5)
    np.testing.assert_allclose(moments["second"][1], [[0.01 * 0.8**2]], rtol=1e-4)
    np.testing.assert_allclose(new[0], [0.9, 2.0], rtol=1e-5)
    np.testing.assert_allclose(moments["average"][0], [(2 * 1 + 9 * 0.9) / 11, 2.0], rtol=1e-5)


KILLED = """
import sys, numpy as np, flow_models as fm
sys.path.insert(0, "tests")
from test_training import data, model
settings = fm.FitSettings(steps=200_000, batch_size=50, eval_every_steps=100)
fm.fit(model(), data(), data(seed=1), settings, folder=sys.argv[1],
       on_epoch=lambda row: print(row["step"], flush=True))
"""


def test_ctrl_c_writes_a_checkpoint(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline().strip() == b"100"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    header = serialisation.read_header(str(tmp_path), "checkpoint", "checkpoint")
    assert header["step"] >= 100
    serialisation.read_arrays(str(tmp_path), header, "checkpoint")


def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path):
    """The files of the process may not grow past a limit, which stands for a full disk."""
    script = """
import resource, signal, sys, numpy as np, flow_models as fm
sys.path.insert(0, "tests")
from test_training import data, model, PLAIN
fm.fit(model(), data(), None, PLAIN, folder=sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    fm.fit(model(seed=9), data(), None, PLAIN, folder=sys.argv[1], resume=True)
except fm.UserError as error:
    print("refused:", error)
"""
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert result.stdout.startswith("refused:") and result.stdout.count("\n") == 1, result.stderr
    header = serialisation.read_header(str(tmp_path), "checkpoint", "checkpoint")
    assert header["step"] == 60
    serialisation.read_arrays(str(tmp_path), header, "checkpoint")
    assert not [f for f in os.listdir(tmp_path) if "tmp" in f.lower()], "no half-written file stays"


@pytest.mark.parametrize("name", ["glow", "realnvp"])
def test_fitting_again_goes_on_from_the_weights_there_are(name):
    m = model(name=name)
    fm.fit(m, data(), None, PLAIN)
    before = m.log_prob(data(50, seed=2))
    fm.fit(m, data(), None, dataclasses.replace(PLAIN, steps=1, learning_rate=1e-9))
    np.testing.assert_allclose(m.log_prob(data(50, seed=2)), before, atol=1e-4)


def test_an_interruption_while_validating_is_resumed_exactly(tmp_path):
    settings = dataclasses.replace(PLAIN, checkpoint_seconds=1e9)
    expected = fm.fit(model(), data(), data(seed=1), settings).history
    trainer = fm.Trainer(model(), data(), data(seed=1), settings, folder=str(tmp_path))
    evaluate, calls = trainer._evaluate, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return evaluate(*arguments)

    trainer._evaluate = interrupted
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    resumed = fm.fit(model(), data(), data(seed=1), settings, folder=str(tmp_path), resume=True)
    assert without_times(resumed.history) == without_times(expected)


def test_a_checkpoint_is_not_overwritten_by_another_run(tmp_path):
    fm.fit(model(), data(), None, PLAIN, folder=str(tmp_path))
    with pytest.raises(fm.UserError, match="holds the checkpoint of another run"):
        fm.fit(model(), data(), None, PLAIN, folder=str(tmp_path))
    with pytest.raises(fm.UserError, match="resume needs the folder"):
        fm.fit(model(), data(), None, PLAIN, resume=True)


def test_float64_models_train_on_integers_too():
    m = fm.Model(fm.realnvp(2, dtype=tf.float64, **SMALL))
    result = fm.fit(m, (10 * data()).astype(int), None, PLAIN)
    assert result.history["train_objective"][-1] < result.history["train_objective"][0]


def test_batches_of_a_dataset_are_read_while_steps_run():
    given = []

    def batches():
        for number in range(1000):
            given.append(number)
            yield np.full((8, 2), number, np.float32)

    signature = tf.TensorSpec([8, 2], tf.float32)
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    source = make_source(dataset, 8, 0)
    (chunk,) = source.chunk(0, 3)
    until = time.monotonic() + 60
    while len(given) < 3 + AHEAD and time.monotonic() < until:  # nothing asks for more
        time.sleep(0.01)
    assert 3 + AHEAD <= len(given) <= 5 + AHEAD
    (then,) = source.chunk(3, 2)
    np.testing.assert_array_equal(chunk[:3, 0, 0], [0, 1, 2])
    np.testing.assert_array_equal(then[:2, 0, 0], [3, 4])
    assert chunk.shape[0] == CHUNK, "so few bytes that all steps fit"
    large = make_source(tf.data.Dataset.from_tensors(tf.zeros([32, 64, 64, 3])), 32, 0)
    assert large.chunk(0, 1)[0].numpy().nbytes <= CHUNK_BYTES
