"""Generative classifiers: Bayes' rule, the three forms, rows without labels, padding, and the
numbers that judge them."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from scipy.special import logsumexp, softmax

import flow_models as fm
import train_flowmodels4 as script
from flow_models import plots
from flow_models.applications.application import Run, trainer_of
from flow_models.applications.classes import sources, study
from flow_models.applications.classes.problem import Problem
from flow_models.applications.settings import CLASS_FORMS as FORMS
from flow_models.applications.settings import Classifier
from flow_models.bijectors import ClassGaussian, FlowBijector, YeoJohnson
from flow_models.bijectors.class_moments import class_moments
from flow_models.bijectors.layer import leaves
from flow_models.data.points import modes
from flow_models.data.tables import labelled
from flow_models.data.tables.labelled import UNLABELLED, Labelled
from flow_models.diagnostics import baselines
from flow_models.diagnostics.classification import (
    auroc,
    calibration,
    class_metrics,
    rejection_curve,
)
from flow_models.models import classification
from flow_models.runs.config import replace
from flow_models.training import losses

RNG = np.random.default_rng(0)
SMALL = {"depth": 2, "hidden": (8, 8), "bins": 4, "bound": 5.0, "affine": False, "unskew": False}
CLASSES = ("ant", "bee", "cat")


def moved(model, scale=0.3, seed=0):
    """The model with weights away from their start."""
    rng = np.random.default_rng(seed)
    for variable in leaves(model.weights).values():
        if variable.trainable:
            variable.assign_add(scale * rng.normal(size=variable.shape).astype("f"))
    return model


def built(problem, **settings):
    """The model that application 4 builds for a problem."""
    config, application = replace(script.Config(), jit=False, **settings), script.APPLICATION
    return application.build_model(config, problem, application.partition(config, problem))


def model_of(form, size=2, classes=CLASSES, **settings):
    priors = np.arange(1, len(classes) + 1) / sum(range(1, len(classes) + 1))
    columns = tuple(f"x{i}" for i in range(size))
    problem = SimpleNamespace(columns=columns, classes=classes, priors=priors, codec=None)
    return moved(built(problem, form=form, **{"sigma_y": 0.8, **SMALL, **settings}))


def trained(model, problem, settings, form="mixture", **how):
    """Trains the model as applications 3 and 4 do; what `fit` gives."""
    training = study.training(model, problem, settings, form=form, **how)
    trainer = trainer_of(model, training, None)
    result = trainer.run(progress=False)
    if training.then:
        training.then(model, trainer)
    return result


def test_bayes_rule_and_the_information_bottleneck():
    log_p, log_priors = RNG.normal(size=(6, 3)), np.log([0.2, 0.3, 0.5])
    labels = np.eye(3)[[0, 1, 2, 0, 1, 2]]
    labels[4:] = 0  # no label
    np.testing.assert_allclose(
        classification.log_marginal(log_p, log_priors), logsumexp(log_p + log_priors, axis=1)
    )
    np.testing.assert_allclose(
        np.exp(classification.log_posterior(log_p, log_priors)), softmax(log_p + log_priors, axis=1)
    )
    terms = classification.information_bottleneck(
        tf.constant(log_p), tf.constant(log_priors), tf.constant(labels), 1.0
    )
    joint = (labels * (log_p + log_priors)).sum(1)
    np.testing.assert_allclose(
        terms["objective"][:4], -joint[:4], err_msg="beta = 1 is the likelihood of (x, label)"
    )
    np.testing.assert_allclose(
        terms["objective"][4:],
        -logsumexp(log_p + log_priors, axis=1)[4:],
        err_msg="no label: a sum",
    )
    half = classification.information_bottleneck(
        tf.constant(log_p), tf.constant(log_priors), tf.constant(labels), 0.0, 0.25
    )
    np.testing.assert_allclose(half["objective"] / terms["nll"], [0.5] * 4 + [1.5] * 2)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_a_gaussian_a_class_is_a_bijector_and_all_classes_take_one_pass(covariance):
    trunk = fm.realnvp(3, depth=2, hidden=(8,), standardise=False).layer
    layer = ClassGaussian(trunk, 3, 2, covariance)
    f = FlowBijector(layer)
    moved(f)
    x, c = (
        tf.constant(RNG.normal(size=(5, 3)), tf.float32),
        tf.constant(np.eye(2)[[0, 1, 1, 0, 1]], tf.float32),
    )
    z, log_det = layer.forward_and_log_det(f.weights, x, c)
    every, log_dets = layer.forward_of_each(f.weights, x, tf.eye(2))
    mine = np.argmax(c, 1)
    every, log_dets = np.reshape(every, [5, 2, 3]), np.reshape(log_dets, [5, 2])
    np.testing.assert_allclose(z, every[range(5), mine], atol=1e-5)
    np.testing.assert_allclose(log_det, log_dets[range(5), mine], atol=1e-5)
    back, back_log_det = layer.inverse_and_log_det(f.weights, z, c)
    np.testing.assert_allclose(back, x, atol=1e-4)
    np.testing.assert_allclose(back_log_det, -log_det, atol=1e-4)
    with tf.GradientTape() as tape:
        tape.watch(x)
        z, _ = layer.forward_and_log_det(f.weights, x, c)
    jacobian = tape.batch_jacobian(z, x)
    np.testing.assert_allclose(np.linalg.slogdet(jacobian)[1], log_det, atol=1e-4)
    with pytest.raises(fm.UserError, match="full or diagonal"):
        ClassGaussian(trunk, 3, 2, "round")


def test_the_start_is_a_regularised_discriminant_analysis():
    y = RNG.integers(2, size=4000)
    spread = np.array([[[1.0, 0.8], [0.8, 1.0]], [[0.5, -0.3], [-0.3, 0.5]]])
    v = np.stack([RNG.multivariate_normal([3 * k, k], spread[k]) for k in y])
    mean, covariance = class_moments(v, np.eye(2)[y])
    np.testing.assert_allclose(mean, [[0, 0], [3, 1]], atol=0.1)
    np.testing.assert_allclose(covariance, spread, atol=0.15)
    mean, covariance = class_moments(v[:4], np.eye(4))
    np.testing.assert_allclose(mean, v[:4], atol=1e-3)
    assert (np.linalg.eigvalsh(covariance) > 0).all(), "one row a class"
    labels = np.eye(2)[y]
    labels[20:] = 0
    mean, covariance = class_moments(v, labels)
    np.testing.assert_allclose(
        mean, [[0, 0], [3, 1]], atol=0.25, err_msg="rows without a label find their class"
    )
    mean, _ = class_moments(v[:50], np.eye(3)[np.zeros(50, int)])
    assert np.isfinite(mean).all(), "a class without rows"


def test_the_power_transformation_takes_skewness_away_and_is_onto():
    x = (RNG.gamma(1.0, size=(3000, 1)) - 1).astype("f")
    f = FlowBijector(fm.bijectors.Chain([YeoJohnson(1)]))
    (started,), _ = f.layer.data_dependent_init(f.weights, tf.constant(x))
    y, log_det = f.layer.forward_and_log_det([started], tf.constant(x))
    assert abs(scipy.stats.skew(y.numpy())) < 0.5 * abs(scipy.stats.skew(x))
    back, back_log_det = f.layer.inverse_and_log_det([started], y)
    np.testing.assert_allclose(back, x, atol=1e-4)
    np.testing.assert_allclose(back_log_det, -log_det, atol=1e-4)
    with tf.GradientTape() as tape:
        a = tf.constant([[-3.0], [-0.2], [0.3], [4.0]])
        tape.watch(a)
        b, slope = f.layer.forward_and_log_det([started], a)
    np.testing.assert_allclose(np.log(tape.gradient(b, a))[:, 0], slope, atol=1e-5)
    far = f.layer.inverse_and_log_det([started], tf.constant([[-30.0], [30.0]]))[0]
    assert np.isfinite(far).all()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_a_density_for_each_class_and_bayes_rule_holds(form):
    model = model_of(form, size=3 if form == "joint" else 2)
    x = RNG.normal(size=(4, 5, model.event_size)).astype("f")
    log_p = model.class_log_prob(x)
    assert log_p.shape == (4, 5, 3)
    for k, name in enumerate(CLASSES):
        np.testing.assert_allclose(model.log_prob(x, y=name), log_p[..., k], atol=1e-4)
        np.testing.assert_allclose(
            model.log_prob(x, y=np.full((4, 5), k)), log_p[..., k], atol=1e-4
        )
    expected = softmax(log_p + np.log([1 / 6, 2 / 6, 3 / 6]), axis=-1)
    np.testing.assert_allclose(model.classify(x), expected, atol=1e-5)
    other = model.classify(x, priors={"cat": 1, "ant": 0, "bee": 1})
    np.testing.assert_allclose(
        other, softmax(log_p + np.log([1e-300, 0.5, 0.5]), axis=-1), atol=1e-5
    )
    np.testing.assert_allclose(
        model.anomaly_score(x),
        -logsumexp(log_p + np.log([1 / 6, 2 / 6, 3 / 6]), axis=-1),
        atol=1e-4,
    )
    draws = model.sample(4000, seed=1, y="bee")
    z = model.encode(draws, "bee")
    assert scipy.stats.kstest(z.ravel(), "norm").pvalue > 1e-3, (
        "draws of a class have N(0, I) latents in it"
    )
    np.testing.assert_allclose(model.decode(z[:9], "bee"), draws[:9], atol=1e-3)
    assert np.abs(model.decode(z[:9], "ant") - draws[:9]).max() > 0.05, (
        "the same latents in another class"
    )
    np.testing.assert_array_equal(
        model.sample(5, seed=2), model.sample(5, seed=2, y=model.draw_labels(5, seed=2))
    )
    assert abs((model.draw_labels(9000) == 2).mean() - 0.5) < 0.03
    if model.event_size == 2:
        axis = np.linspace(-15, 15, 301)
        total = (
            np.exp(model.class_log_prob(np.stack(np.meshgrid(axis, axis), -1)).astype(float)).sum(
                (0, 1)
            )
            * 0.1**2
        )
        np.testing.assert_allclose(total, 1, atol=0.02)


@pytest.mark.parametrize("form", FORMS)
def test_a_saved_model_is_the_same_one(form, tmp_path):
    model = model_of(form)
    x = RNG.normal(size=(20, 2)).astype("f")
    model.save(str(tmp_path))
    again = fm.load(str(tmp_path), jit=False)
    assert again.classes == CLASSES and again.columns == ["x0", "x1"]
    assert again.partition == model.partition and again.layer == model.layer
    assert again.codecs == model.codecs
    np.testing.assert_array_equal(again.classify(x), model.classify(x))


def test_padding_is_noise_and_more_draws_tighten_the_bound():
    model = model_of("joint", size=2, classes=tuple("abcde"))
    assert model.event_size == 2 and model.partition.inputs == {"x": 2, "pad": 3}
    x = 0.5 * RNG.normal(size=(200, 2)).astype("f")
    plain = model.class_log_prob(x, draws=128, tighten=False)
    some, many = (model.class_log_prob(x, draws=k) for k in (16, 128))
    assert plain.mean() < some.mean() < many.mean() + 0.05 and (plain <= many + 1e-4).all()
    assert model.sample(7, y="c").shape == (7, 2) and model.encode(x, np.zeros(200, int)).shape == (
        200,
        5,
    )
    rows = Labelled(x, RNG.integers(5, size=200))
    batch = sources.from_rows(model, rows)(64, tf.constant([1, 2]))
    assert batch["x"].shape == (64, 2) and batch["pad"].shape == (64, 3)
    assert abs(np.std(batch["pad"]) - 1) < 0.2, "never zeros"
    again = sources.from_rows(model, rows)(64, tf.constant([1, 3]))
    assert (batch["pad"] != again["pad"]).numpy().all(), "new noise every step"


def test_where_no_density_can_be_computed_the_priors_are_left():
    model = model_of("mixture")
    np.testing.assert_allclose(
        model.classify(np.full((1, 2), 1e30)), [[1 / 6, 2 / 6, 3 / 6]], atol=1e-6
    )
    assert model.log_prob(np.full((1, 2), 1e30))[0] == -np.inf


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda m: m.sample(3, y="dog"), "no class 'dog'; there are ant, bee, cat"),
        (lambda m: m.log_prob(np.zeros((2, 2)), y=3), "class numbers are 0 to 2"),
        (
            lambda m: m.log_prob(np.zeros((2, 2)), y=[0.5, 0.5]),
            "names of classes, class numbers, or floating rows",
        ),
        (lambda m: m.classify(np.zeros((2, 2)), priors=[1, 2]), "priors are 3 numbers"),
        (lambda m: m.classify(np.zeros((2, 2)), priors=[0, 0, 0]), "priors are 3 numbers"),
        (lambda m: m.classify(np.zeros((2, 2)), priors={"ant": 1}), r"the classes are \['ant"),
        (lambda m: m.classify(np.zeros((2, 3))), r"shape \[..., 2\]"),
        (lambda m: m.decode(np.zeros((2, 3)), 0), r"z must have shape \[..., 2\]"),
        (lambda m: m.decode(np.zeros((2, 2))), r"this model needs y \[..., 3\]"),
        (lambda m: m.sample(-1), "whole number of at least 0"),
        (lambda m: m.draw_labels(-1), "whole number of at least 0"),
        (lambda m: m.sample(1, y=["ant", "bee"]), r"1 samples, but y of \[2\] rows"),
        (lambda m: m.log_prob(np.zeros((2, 2)), y=[0, 1, 2]), "do not go together"),
        (
            lambda m: model_of("joint").class_log_prob(np.zeros((2, 2)), draws=0),
            "draws .* at least 1, got 0",
        ),
        (lambda m: Classifier(form="both"), "no form 'both'; there are mixture"),
        (
            lambda m: fm.Model(m.bijector, m.partition, {"y": fm.Labels(("a",), (1.0,))}),
            r"events of shape \(1,\) for block 'y' of 3 dim",
        ),
        (lambda m: fm.Labels(("a", "b"), (1.0,)), "2 classes and 1 priors"),
    ],
)
def test_wrong_use(call, message):
    with pytest.raises(fm.UserError, match=message):
        call(model_of("mixture"))


def test_training_with_few_labels_finds_the_classes():
    truth = modes.get("all")
    draw = [
        Labelled(*(a.numpy() for a in truth.draw(n, (0, k))))
        for k, n in enumerate((2000, 500, 2000))
    ]
    problem = Problem(
        *draw, truth.classes, ("a", "b"), "modes", simulator=truth.draw, truth=truth
    ).with_labels(16)
    assert (
        problem.labelled == 16
        and problem.simulator is None
        and (np.bincount(problem.train.y[problem.train.y >= 0]) == 2).all()
    )
    model = built(problem, form="mixture", depth=1, hidden=(8,), unskew=False)
    settings = fm.FitSettings(steps=150, batch_size=128, learning_rate=2e-2, jit=False)
    history = trained(model, problem, settings).history
    metrics = study.metrics(model, problem)
    assert {"train_nll", "val_cross_entropy", "val_objective"} <= set(history)
    assert (
        metrics["accuracy"] > 0.99
        and metrics["kl_to_truth"] < 0.15
        and metrics["accuracy_bayes"] > 0.999
    )
    assert all(np.abs(v.numpy()).max() > 0 for v in leaves(model.weights).values() if v.trainable)


def test_a_point_of_a_study_trains_as_long_as_the_run():
    config = replace(script.Config(), jit=False, depth=1, hidden=(8,), steps=9, batch_size=64)
    truth = modes.get("some")
    parts = [Labelled(*(a.numpy() for a in truth.draw(200, (0, part)))) for part in range(3)]
    problem = Problem(*parts, truth.classes, ("a", "b"), "modes", simulator=truth.draw, truth=truth)
    run = Run(script.APPLICATION, config, problem, None, None, None, None)
    few = problem.with_labels(8)
    assert run.train(problem=few)[1].history["step"][-1] == 9
    shorter = fm.FitSettings(steps=3, batch_size=32, jit=False)
    assert run.train(problem=few, settings=shorter)[1].history["step"][-1] == 3


def test_the_loss_of_one_pass_and_of_all_passes_agree():
    model = model_of("conditional")
    x, y = RNG.normal(size=(6, 2)).astype("f"), np.eye(3, dtype="f")[[0, 1, 2, 0, 1, 2]]
    batch = {"x": tf.constant(x), "y": tf.constant(y)}
    one = losses.negative_log_likelihood(model)(model.weights, batch)["objective"]
    every = losses.class_likelihood(model)(model.weights, batch)["objective"]
    np.testing.assert_allclose(every - one, -(y @ model.labels.log_priors()), atol=1e-4)


def test_a_run_is_not_resumed_with_another_beta(tmp_path):
    model, rows, settings = (
        model_of("mixture"),
        Labelled(RNG.normal(size=(60, 2)).astype("f"), np.arange(60) % 3),
        fm.FitSettings(steps=2, batch_size=16),
    )
    batch = {"x": rows.x, "y": rows.onehot(3)}

    def trainer(beta, resume):
        return fm.Trainer(
            model,
            batch,
            settings=settings,
            loss=losses.class_likelihood(model, beta),
            folder=str(tmp_path),
            resume=resume,
        )

    trainer(2.0, False).run()
    assert trainer(2.0, True).run().stopped == "finished"
    with pytest.raises(fm.UserError, match="loss was"):
        trainer(3.0, True)


def test_eight_modes_have_the_density_they_say():
    truth = modes.get("some")
    assert abs(truth.entropy - 1.69844) < 1e-4 and truth.priors == (0.5, 0.25, 0.125, 0.125)
    x, y = (a.numpy() for a in truth.draw(20_000, (3, 4)))
    assert abs(-truth.log_prob(x).mean() - truth.entropy) < 0.02
    assert (truth.posterior(x).argmax(1) == y).mean() > 0.9999
    np.testing.assert_allclose(truth.posterior(x[:9]).sum(1), 1)
    assert modes.get("none").classes == ("0",) and modes.nearest_mode(modes.CENTRES)[
        0
    ].tolist() == list(range(8))
    with pytest.raises(fm.UserError, match="there are all, some, none"):
        modes.get("most")


def test_tables_with_labels(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text(
        "a,kind,b\n"
        + "".join(
            f"{i % 7},{'red blue'.split()[i % 2] if i % 5 else ''},{i * i % 11}\n"
            for i in range(60)
        )
    )
    table = labelled.read_labelled(str(file), "kind")
    assert (
        table.classes == ("blue", "red")
        and table.columns == ("a", "b")
        and (table.rows.y == UNLABELLED).sum() == 12
    )
    assert table.rows.onehot(2)[0].tolist() == [0, 0] and table.rows.onehot(2)[1].tolist() == [1, 0]
    file.write_text("a,k\n" + "".join(f"{i / 7},{10 if i % 3 else 9}\n" for i in range(60)))
    assert labelled.read_labelled(str(file), "k", ["a"]).classes == ("9", "10"), (
        "numbers in their order"
    )
    for column, message in (("z", "no column 'z' for the labels"), ("a", "60 different values")):
        with pytest.raises(fm.UserError, match=message):
            labelled.read_labelled(str(file), column)
    file.write_text("a,k\n" + "1,\n2,\n" * 9)
    with pytest.raises(fm.UserError, match="no label in any row"):
        labelled.read_labelled(str(file), "k")


def test_splits_keep_the_shares_of_classes_and_one_row_a_class_is_trained_on():
    y = np.array([0] * 100 + [1] * 50 + [2])
    rows = Labelled(np.arange(151.0)[:, None], y)
    parts = labelled.split_by_class(rows, (0.6, 0.2, 0.2), seed=3)
    assert [np.bincount(part.y, minlength=3).tolist() for part in parts] == [
        [60, 30, 1],
        [20, 10, 0],
        [20, 10, 0],
    ]
    assert sorted(np.concatenate([part.x[:, 0] for part in parts])) == list(range(151))
    with pytest.raises(fm.UserError, match="class 'b' has test rows and no training row"):
        Problem(rows[y == 0], rows[y == 0], rows[y < 2], ("a", "b", "c"), ("x",), "")


def test_metrics_of_class_probabilities():
    from sklearn.metrics import log_loss, roc_auc_score

    p = softmax(RNG.normal(size=(3000, 4)), axis=1)
    y = np.array([RNG.choice(4, p=row) for row in p])
    metrics = class_metrics(p, y)
    assert metrics["ece"] < 0.03 and abs(metrics["nll_class"] - log_loss(y, p)) < 1e-9
    error, bins = calibration(np.where(np.eye(4)[y] > 0, 0.97, 0.01), y)
    assert abs(error - 0.03) < 1e-9 and abs(bins[:, 2].sum() - 1) < 1e-9
    inside, outside = RNG.normal(size=50), RNG.normal(1, size=30).round(1)
    assert (
        abs(auroc(inside, outside) - roc_auc_score([0] * 50 + [1] * 30, [*inside, *outside]))
        < 1e-12
    )
    rejected, accuracy = rejection_curve(p, y, -p.max(1))
    assert rejected[0] == 0 and accuracy[0] == metrics["accuracy"] and accuracy[2000] > accuracy[0]
    with pytest.raises(fm.UserError, match="class numbers 0 to 3"):
        class_metrics(p, y + 1)


def test_baselines_are_as_good_as_they_are_known_to_be():
    table = labelled.load("iris")
    train, _, test = labelled.split_by_class(table.rows, (0.6, 0.1, 0.3), seed=0)
    found = baselines.classifiers(train.x, train.y, test.x)
    assert set(found) == {"lda", "qda", "logistic"}
    assert all(class_metrics(p, test.y)["accuracy"] > 0.9 for p in found.values())
    distance = baselines.class_distance(
        train.x, train.y, np.array([train.x[train.y == 0].mean(0), [50.0] * 4])
    )
    assert distance[0] < 1e-4 and distance[1] > 10
    lone = baselines.classifiers(train.x, np.where(np.arange(len(train)) == 0, 3, train.y), test.x)
    assert lone["lda"].shape == (len(test), 4), "a class of one row"


def test_figures_of_classes_draw_and_refuse():
    from test_plots import pixels

    for size in (1, 2, 5):
        x, y = RNG.normal(size=(60, size)).astype("f"), np.arange(60) % 3
        x += y[:, None]
        pixels(plots.class_samples(x, y, x, y, CLASSES))
        pixels(
            plots.transfer(
                x,
                y,
                np.stack([x[:4]] * 3, 1),
                np.stack([x[:9], x[9:18]]),
                ["within", "between"],
                CLASSES,
            )
        )
    model = model_of("mixture")
    pixels(
        plots.decision_regions(
            x[:, :2], y, model.class_log_prob, model.labels.log_priors(), CLASSES
        )
    )
    p = softmax(RNG.normal(size=(60, 3)), axis=1)
    pixels(plots.class_probabilities(p, y, RNG.normal(size=60), CLASSES))
    pixels(plots.scores_of_unknown(RNG.normal(size=60), 3 + RNG.normal(size=40), "dog", 0.97))
    points = [{"value": v, "accuracy": 0.9, "nll_test": 1.0 - v / 100} for v in (1, 10, 100)]
    pixels(plots.curve(points, "beta"))
    with pytest.raises(fm.UserError, match="two dimensions"):
        plots.decision_regions(x, y, model.class_log_prob, model.labels.log_priors(), CLASSES)


def test_there_is_no_quadratic_baseline_where_classes_have_fewer_rows_than_columns():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 6)), np.repeat(np.arange(3), 3)
    assert set(baselines.classifiers(x, y, x)) == {"lda", "logistic"}
