"""Generative classifiers of pictures: the three forms over convolutional flows, their data,
calibration and evidence."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import softmax
from test_classification import trained

import flow_models as fm
import train_flowmodels3 as script
from flow_models import plots
from flow_models.applications.application import Run
from flow_models.applications.classes import evidence as evidences
from flow_models.applications.classes import pictures, study
from flow_models.applications.settings import CLASS_FORMS as FORMS
from flow_models.bijectors.class_moments import class_moments
from flow_models.bijectors.layer import leaves
from flow_models.data.images import ImageData
from flow_models.data.images.augmentation import Augmentation
from flow_models.data.tables.labelled import UNLABELLED, Labelled
from flow_models.diagnostics import baselines
from flow_models.runs.config import replace

RNG = np.random.default_rng(0)
CLASSES = ("ant", "bee", "cat")
CODEC = fm.Pixels(6, 7, 1, bits=3, multiple=4)
PRIORS = (0.2, 0.3, 0.5)
PIXELS = RNG.integers(0, 256, (30, 6, 7, 1)).astype(np.uint8)


SMALL = {"depth": 2, "hidden": (6, 6), "sigma_y": 0.8, "jit": False, "conditioned": 0}


def built(problem, **settings):
    """The model that application 3 builds for a problem."""
    config, application = replace(script.Config(), **{**SMALL, **settings}), script.APPLICATION
    return application.build_model(config, problem, application.partition(config, problem))


def model_of(form, scale=0.1, mirrored=False, **settings):
    problem = SimpleNamespace(
        pixels=CODEC, levels=2, classes=CLASSES, priors=PRIORS, mirrored=mirrored
    )
    model = built(problem, form=form, **settings)
    rng = np.random.default_rng(1)
    for variable in leaves(model.weights).values():
        if variable.trainable:
            variable.assign_add(scale * rng.normal(size=variable.shape).astype("f"))
    return model


def problem_of(n=60, augment=None):
    """Three classes told apart by where they are bright."""

    def part(n, seed):
        rng = np.random.default_rng(seed)
        y = np.arange(n) % 3
        x = rng.integers(0, 120, (n, 6, 7, 1))
        for i, k in enumerate(y):
            x[i, 2 * k : 2 * k + 2] += 130
        return Labelled(x.astype(np.uint8), y)

    parts = part(n, 0), part(30, 1), part(30, 2)
    return pictures.PictureProblem(
        *parts, CLASSES, (), "bars", augment=augment, pixels=CODEC, levels=2
    )


@pytest.mark.parametrize(
    "form, options",
    [
        *((form, {}) for form in FORMS if form != "joint"),
        pytest.param("joint", {}, marks=pytest.mark.slow),
        pytest.param("conditional", {"conditioned": 1}, marks=pytest.mark.slow),
    ],
)
def test_every_form_is_a_density_of_pictures_for_each_class(form, options, tmp_path):
    model = model_of(form, **options)
    assert model.event_shape == (6, 7, 1) and model.latent_size == 64
    assert ("y" in model.partition.outputs) == (form == "joint")
    log_p = model.class_log_prob(PIXELS)
    for k, name in enumerate(CLASSES):
        np.testing.assert_allclose(model.log_prob(PIXELS, y=name), log_p[:, k], atol=2e-3)
        z = model.encode(PIXELS[:5], name)
        levels = CODEC.encode(PIXELS[:5], np.float32).rows[:, :6, :7]
        np.testing.assert_allclose(model.decode(z, name), levels, atol=2e-3)
        x = tf.constant(CODEC.encode(PIXELS[:2], np.float32).rows)
        condition = None if form == "joint" else tf.constant(np.eye(3, dtype="f")[[k, k]])
        with tf.GradientTape() as tape:
            tape.watch(x)
            v, log_det = model.layer.forward_and_log_det(model.weights, x, condition)
        jacobian = tf.reshape(tape.batch_jacobian(v, x), [2, 64, 64])
        np.testing.assert_allclose(np.linalg.slogdet(jacobian)[1], log_det, atol=2e-3)
        base = model.partition.base_log_prob(v, np.eye(3, dtype="f")[[k, k]])
        np.testing.assert_allclose(base + log_det, log_p[:2, k], atol=2e-3)
    mean = model.class_log_prob(PIXELS, draws=4, tighten=False)
    np.testing.assert_allclose(
        model.classify(PIXELS), softmax(mean + np.log([0.2, 0.3, 0.5]), axis=1), atol=1e-3
    )
    np.testing.assert_allclose(model.classify(PIXELS, priors=[0, 1, 1])[:, 0], 0)
    np.testing.assert_allclose(
        model.bits_per_dim(PIXELS), -model.log_prob(PIXELS) / (42 * np.log(2)), rtol=1e-5
    )
    drawn = model.sample(4, seed=3, y="bee")
    assert drawn.shape == (4, 6, 7, 1) and drawn.dtype == np.uint8
    model.save(str(tmp_path))
    again = fm.load(str(tmp_path), jit=False)
    np.testing.assert_array_equal(again.classify(PIXELS), model.classify(PIXELS))


def test_more_draws_of_the_noise_tighten_the_bound():
    model = model_of("mixture")
    one, many = (model.class_log_prob(PIXELS, draws=draws) for draws in (1, 16))
    plain = model.class_log_prob(PIXELS, draws=16, tighten=False)
    assert (many >= plain - 1e-4).all() and many.mean() > one.mean()
    levels = CODEC.encode(PIXELS, np.float32).rows[:, :6, :7]
    np.testing.assert_array_equal(
        model.class_log_prob(levels, draws=1),
        model.class_log_prob(levels, draws=9),
        "no noise is drawn",
    )
    other = model.log_prob(PIXELS, seed=1)
    np.testing.assert_array_equal(other, model.log_prob(PIXELS, seed=1))
    assert (other != model.log_prob(PIXELS)).any(), "the noise follows the seed"


def test_mirror_images_are_classified_alike_where_the_model_says_so():
    model, other = model_of("mixture", mirrored=True), model_of("mixture")
    np.testing.assert_allclose(
        model.classify(PIXELS), model.classify(PIXELS[:, :, ::-1]), atol=1e-5
    )
    assert np.abs(other.classify(PIXELS) - other.classify(PIXELS[:, :, ::-1])).max() > 1e-3
    np.testing.assert_allclose(
        model.log_prob(PIXELS), other.log_prob(PIXELS), err_msg="densities are as they were"
    )


def test_calibration_finds_the_temperature_and_it_is_saved(tmp_path):
    model, problem = model_of("mixture"), problem_of()
    settings = fm.FitSettings(steps=60, batch_size=16, learning_rate=1e-2, jit=False)
    trained(model, problem, settings, beta=3.0)
    found, rows = model.labels.calibration_temperature, problem.validation
    cost = lambda: (
        -np.log(np.maximum(model.classify(rows.x)[np.arange(len(rows)), rows.y], 1e-300)).mean()
    )
    at = lambda temperature: dataclasses.replace(model.labels, calibration_temperature=temperature)
    best = cost()
    for factor in (0.8, 1.25):
        model.codecs["y"] = at(found * factor)
        assert cost() >= best - 1e-6
    model.codecs["y"] = at(found)
    model.save(str(tmp_path))
    assert fm.load(str(tmp_path), jit=False).labels.calibration_temperature == found != 1
    assert study.metrics(model, problem)["accuracy"] > 0.9
    with pytest.raises(fm.UserError, match="calibration_temperature is 0"):
        at(0.0)


def test_batches_repeat_and_half_of_one_is_labelled():
    problem = problem_of().with_labels(6)
    batches = problem.batches(8, seed=1)
    first = next(iter(batches))
    assert first["x"].shape == (8, 6, 7, 1) and first["x"].dtype == tf.uint8
    np.testing.assert_array_equal(np.sum(first["y"], 1), [1] * 4 + [0] * 4)
    third = list(batches.take(3))[2]
    again = next(iter(problem.batches(8, seed=1).skip(2).each(lambda batch: batch["x"])))
    np.testing.assert_array_equal(third["x"], again)
    seen = {number.tobytes() for batch in batches.take(30) for number in batch["x"].numpy()[4:]}
    assert len(seen) == (problem.train.y == UNLABELLED).sum(), "every picture without a label comes"
    assert set(first) == {"x", "y"}


@pytest.mark.slow
def test_training_without_most_labels_and_the_same_network_without_classes():
    problem = problem_of(90).with_labels(9)
    settings = fm.FitSettings(steps=60, batch_size=16, learning_rate=1e-2, jit=False)
    model = model_of("mixture", scale=0.0)
    trained(model, problem, settings, beta=3.0)
    metrics = study.metrics(model, problem)
    assert metrics["accuracy"] > 0.8 and metrics["bits_per_dim"] == pytest.approx(
        metrics["nll_test"] / (42 * np.log(2))
    )
    wanted = {"steps": 60, "batch_size": 16, "learning_rate": 1e-2}
    config = replace(script.Config(), **SMALL, **wanted)
    found = pictures.without_classes(
        Run(script.APPLICATION, config, problem, None, model, None, None)
    )
    assert 0.7 < metrics["bits_per_dim"] / found["bits_per_dim_unconditional"] < 1.1


def test_evidence_points_where_the_classes_differ():
    problem = problem_of()
    model = model_of("mixture", scale=0.0)
    settings = fm.FitSettings(steps=80, batch_size=16, learning_rate=1e-2, jit=False)
    trained(model, problem, settings, beta=10.0)
    x = problem.test.x[:9]
    weights = evidences.evidence(model, x, problem.test.x)
    assert weights.shape == (9, 6, 7)
    own = np.stack([weights[i, 2 * k : 2 * k + 2].mean() for i, k in enumerate(problem.test.y[:9])])
    assert (own > 0).mean() > 0.8 and own.mean() > 1.5 * weights.mean() > 0
    plots.evidence(x, weights, ["a"] * 9)
    with pytest.raises(fm.UserError, match="evidence needs"):
        plots.evidence(x, weights[:, :3], ["a"] * 9)


def data_of(y, y_held, y_test=None, classes=CLASSES):
    images = [
        None if labels is None else np.zeros((len(labels), 4, 4, 1), np.uint8)
        for labels in (y, y_held, y_test)
    ]
    labels = [None if each is None else np.array(each, np.int32) for each in (y, y_held, y_test)]
    return ImageData(
        "d",
        images[0],
        images[0],
        labels[0],
        images[1],
        labels[1],
        images[2],
        labels[2],
        classes,
        len(y),
        "here",
    )


def test_pictures_become_a_problem():
    problem = pictures.picture_problem(data_of([0, 1, 2, 2], [0, 0, 1, 1, 2, 2]))
    assert (
        sorted(problem.validation.y) == sorted(problem.test.y) == [0, 1, 2]
        and "half of the validation" in problem.source
    )
    problem = pictures.picture_problem(data_of([0, 1, 2], [0, 1], [2]))
    assert problem.test.y.tolist() == [2] and problem.stream is None
    for data, message in (
        (data_of([0, 0], [0, 0], classes=("ant",)), "the one class 'ant'; a classifier needs two"),
        (data_of([0, 0], [0, 0], classes=("all",)), "no folders of classes"),
        (data_of([0, 1], [2, 0, 2, 0]), "class 'cat' has validation rows and no training row"),
    ):
        with pytest.raises(fm.UserError, match=message):
            pictures.picture_problem(data)


def test_pixels_are_shifted_by_whole_steps_where_nothing_else_moves_them():
    images = np.repeat(PIXELS[:1], 200, 0)
    moved = np.asarray(Augmentation(shift=0.3).apply(images, [1, 2]))
    assert set(np.unique(moved)) <= set(np.unique(images)), "no value in between"
    assert len({each.tobytes() for each in moved}) > 9


def test_many_dimensions_have_variances_alone():
    rng = np.random.default_rng(3)
    y = rng.integers(3, size=600)
    v = rng.normal(size=(600, 2000)) * (1 + y[:, None]) + 5 * y[:, None]
    mean, variance = class_moments(v, np.eye(3)[y], full=False)
    assert mean.shape == variance.shape == (3, 2000)
    np.testing.assert_allclose(mean.mean(1), [0, 5, 10], atol=0.2)
    few, spread = class_moments(v[:, :3], np.eye(3)[y], full=False)
    own = np.stack([v[y == k, :3].var(0) for k in range(3)])
    pooled = np.mean(
        [np.square(v[y == k, :3] - v[y == k, :3].mean(0)).mean(0) for k in range(3)], 0
    )
    assert (np.minimum(own, pooled) * 0.95 < spread).all() and (
        spread < np.maximum(own, pooled) * 1.05
    ).all()


def test_joint_needs_as_many_pixels_as_classes():
    problem = SimpleNamespace(pixels=fm.Pixels(2, 2, 1, multiple=2), classes=tuple("abcdefg"))
    for asked in ({"form": "joint"}, {"form": "mixture", "compare": True}):
        with pytest.raises(fm.UserError, match="too many classes"):
            pictures.refuse_joint(replace(script.Config(), **asked), problem)
    config = replace(script.Config(), form="mixture")
    pictures.refuse_joint(config, problem)
    assert script.APPLICATION.partition(config, problem).given == {"y": 7}


def test_classifiers_without_a_flow():
    problem = problem_of(90)
    parts = [(part.x, part.y) for part in (problem.train, problem.validation)]
    found = baselines.picture_classifiers(*parts, problem.test.x)
    assert (found["svm"] == problem.test.y).mean() > 0.9 and found["logistic"].shape == (30, 3)


def test_pictures_too_many_for_the_memory_are_streamed(tmp_path):
    from test_application3 import bars

    from flow_models.data.images import open_images

    bars(tmp_path / "train", 20)
    bars(tmp_path / "val", 6)
    data = open_images(
        str(tmp_path),
        batch_size=8,
        labelled=True,
        cache_dir=str(tmp_path / "cache"),
        memory_limit_mb=0.01,
    )
    problem = pictures.picture_problem(data)
    assert problem.stream is not None and len(problem.train) < 40
    codec = fm.Pixels(9, 13, 3, 3, multiple=4)
    problem = pictures.PictureProblem(**vars(problem), pixels=codec, levels=2)
    model = built(problem, form="conditional", conditioned=1, depth=1, hidden=(4, 4))
    settings = fm.FitSettings(steps=4, batch_size=8, jit=False)
    how = {"form": "conditional", "beta": 3.0, "loss_temperature": 2.0}
    history = trained(model, problem, settings, **how).history
    assert np.isfinite(history["val_objective"]).all()
    assert problem.with_labels(4).stream is None, "labels are taken off pictures in memory"


def test_a_classifier_of_pictures_is_served(tmp_path):
    from types import SimpleNamespace

    from flow_models.runs.tracking.serving import FlowPyfunc, example

    model = model_of("conditional", conditioned=1)
    model.save(str(tmp_path))
    served = FlowPyfunc()
    served.load_context(SimpleNamespace(artifacts={"model": str(tmp_path)}))
    request = PIXELS[:4].astype(np.float32)
    answer = served.predict(None, request, {"method": "classify"})
    np.testing.assert_allclose(answer, model.classify(PIXELS[:4]), atol=1e-5)
    assert served.predict(None, request, {"method": "bits_per_dim"}).shape == (4,)
    assert example(served.model).shape == (2, 6, 7, 1)
