"""The model: densities that integrate, draws that repeat, folders that load in another process."""

import json
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from recipes import architectures

import flow_models as fm
from flow_models.bijectors import ActNorm, Chain
from flow_models.bijectors.layer import leaves
from flow_models.core import archive
from flow_models.core.serializable import to_config
from flow_models.models.columns import Columns

SMALL = {"depth": 2, "hidden": (16, 16)}


def moved(model, seed=0, scale=0.2):
    """The model with weights away from their start."""
    rng = np.random.default_rng(seed)
    for variable in leaves(model.weights).values():
        if variable.trainable:
            variable.assign_add(scale * rng.normal(size=variable.shape).astype("f"))
    return model


def small_model(name="spline_coupling", size=2, jit=False, **options):
    """A model away from its start; compiled by XLA only where that is what is tested, as it takes
    seconds."""
    return moved(fm.Model(fm.architectures.build(name, size, **SMALL, **options), jit=jit))


@pytest.mark.parametrize("name", architectures())
def test_densities_integrate_to_one(name):
    model = small_model(name, bins=4)
    solved = name in ("ffjord", "ot_flow", "flow_matching", "augmented_ode")  # smooth, and slow
    edges = np.linspace(-12, 12, 102 if solved else 602)
    if name == "absolute":  # steep next to 0, where it folds
        edges = np.sinh(np.linspace(-1, 1, 602) * np.arcsinh(12e5)) / 1e5
    middles, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    grid = np.stack(np.meshgrid(middles, middles), -1)
    total = np.sum(np.exp(model.log_prob(grid).astype(np.float64)) * np.outer(widths, widths))
    bound = name in ("augmented", "augmented_ode", "vae")  # from below, an average over draws
    assert (0.6 if bound else 0.99) < total < 1.01


def test_density_is_in_the_units_of_the_data_and_zero_outside_bounds():
    model = small_model(lower=[0.0, None], upper=[2.0, 1.0])
    x1, x2 = np.linspace(-0.5, 2.5, 601), np.linspace(-25, 1.5, 1201)
    density = np.exp(model.log_prob(np.stack(np.meshgrid(x1, x2), -1)).astype(np.float64))
    assert abs(density.sum() * (x1[1] - x1[0]) * (x2[1] - x2[0]) - 1) < 0.02
    assert (density[:, (x1 < 0) | (x1 > 2)] == 0).all() and (density[x2 > 1] == 0).all()
    draws = model.sample(500)
    assert (draws[:, 0] > 0).all() and (draws[:, 0] < 2).all() and (draws[:, 1] < 1).all()


def test_new_standardised_model_is_the_gaussian_of_the_data():
    x = np.random.default_rng(0).normal([5, -200], [0.1, 30], (4000, 2)).astype("f")
    model = fm.Model(fm.realnvp(2, **SMALL))
    fm.fit(
        model, x, settings=fm.FitSettings(steps=1, batch_size=100, learning_rate=1e-9, jit=False)
    )
    expected = scipy.stats.norm(x.mean(0), x.std(0)).logpdf(x).sum(1)
    np.testing.assert_allclose(model.log_prob(x), expected, atol=2e-3)


TILED = small_model(jit=True)


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 1025, 16385])
def test_any_number_of_rows_gives_what_one_row_gives(n):
    model = TILED
    x = np.random.default_rng(1).normal(size=(n, 2)).astype("f")
    log_prob = model.log_prob(x)
    assert log_prob.shape == (n,) and model.encode(x).shape == model.decode(x).shape == (n, 2)
    for i in {0, n // 2, n - 1} - ({0, -1} if n == 0 else set()):
        assert abs(model.log_prob(x[i]) - log_prob[i]) < 1e-4


def test_shapes_directions_and_scores():
    model = small_model(size=3)
    x = np.random.default_rng(1).normal(size=(4, 5, 3)).astype("f")
    z = model.encode(x)
    assert (
        z.shape == x.shape
        and model.log_prob(x).shape == (4, 5)
        and model.log_prob(x[0, 0]).shape == ()
    )
    np.testing.assert_allclose(model.decode(z), x, atol=1e-4)
    np.testing.assert_allclose(z, model.bijector.forward(x), atol=1e-4)
    np.testing.assert_allclose(model.anomaly_score(x), -model.log_prob(x))
    np.testing.assert_allclose(model.distribution().log_prob(x), model.log_prob(x), atol=1e-4)


def test_samples_follow_the_density_and_the_seed():
    model = small_model()
    x = model.sample(20_000, seed=3)
    np.testing.assert_array_equal(x, model.sample(20_000, seed=3))
    assert (x != model.sample(20_000, seed=4)).any()
    assert scipy.stats.kstest(model.encode(x).ravel(), "norm").pvalue > 1e-3
    assert model.sample(0).shape == (0, 2)
    assert model.sample(2000, sampling_temperature=0.1).std() < x.std()


def test_y_among_the_outputs_and_conditions():
    partition = fm.Partition(inputs={"x": 3}, outputs={"y": 1, "z": 2}, sigma_y=0.3)
    joint = moved(fm.Model(fm.realnvp(3, **SMALL), partition, jit=False))
    x, y = np.random.default_rng(0).normal(size=(6, 3)).astype("f"), np.ones((6, 1), "f")
    expected = partition.base_log_prob(
        joint.encode(x), y
    ) + joint.bijector.forward_log_det_jacobian(x, 1)
    np.testing.assert_allclose(joint.log_prob(x, y=y), expected, atol=1e-4)
    np.testing.assert_allclose(joint.distribution(y=[1.0]).log_prob(x), expected, atol=1e-4)
    draws = joint.sample(3000, y=[1.0])
    assert abs(joint.encode(draws)[:, 0].mean() - 1) < 0.05
    partition = fm.Partition(inputs={"x": 3}, outputs={"z": 3}, given={"c": 2})
    conditional = moved(fm.Model(fm.realnvp(3, condition_size=2, **SMALL), partition, jit=False))
    c = np.random.default_rng(1).normal(size=(6, 2)).astype("f")
    assert np.abs(conditional.log_prob(x, c) - conditional.log_prob(x, c[::-1])).max() > 1e-3
    np.testing.assert_allclose(conditional.decode(conditional.encode(x, c), c), x, atol=1e-4)
    density = conditional.distribution().log_prob(x, bijector_kwargs={"condition": c})
    np.testing.assert_allclose(density, conditional.log_prob(x, c), atol=1e-4)
    with pytest.raises(fm.UserError, match="give it as bijector_kwargs"):
        conditional.distribution(c)
    with pytest.raises(fm.UserError, match=r"needs y \[..., 2\]"):
        conditional.log_prob(x)
    with pytest.raises(
        fm.UserError, match=r"y must have shape \[..., 2\] \(c1, c2\), got \[6, 1\]"
    ):
        conditional.log_prob(x, y)
    with pytest.raises(fm.UserError, match="has no y"):
        small_model(size=3).log_prob(x, y)
    with pytest.raises(fm.UserError, match=r"x of \[6\] rows and y of \[5\] do not go together"):
        conditional.log_prob(x, c[:5])


LOADER = """
import sys, numpy as np, flow_models as fm
model = fm.load(sys.argv[1])
log_prob = model.log_prob(np.load(sys.argv[2]))
np.save(sys.argv[3], np.concatenate([log_prob, model.sample(10, seed=1).ravel()]))
"""


@pytest.mark.parametrize(
    "name", ["glow", "maf", pytest.param("residual_attention", marks=pytest.mark.slow)]
)
def test_a_new_process_loads_the_same_numbers_bit_for_bit(name, tmp_path):
    model = small_model(name, size=3, seed=7, jit=True)
    x = np.random.default_rng(1).normal(size=(100, 3)).astype("f")
    model.save(str(tmp_path / "model"))
    np.save(tmp_path / "x.npy", x)
    here = [str(tmp_path / file) for file in ("model", "x.npy", "out.npy")]
    subprocess.run([sys.executable, "-c", LOADER, *here], check=True, timeout=120)
    expected = np.concatenate([model.log_prob(x), model.sample(10, seed=1).ravel()])
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)
    assert fm.load(str(tmp_path)).columns == ["x1", "x2", "x3"], "the folder of a run is found too"


def test_saving_again_replaces_and_keeps_nothing_old(tmp_path):
    model = small_model()
    model.save(str(tmp_path))
    moved(model, seed=1)
    model.save(str(tmp_path))
    assert len(list(tmp_path.glob("*.npz"))) == 1
    x = np.zeros((3, 2), "f")
    np.testing.assert_array_equal(fm.load(str(tmp_path)).log_prob(x), model.log_prob(x))


def part(name, **fields):
    """The description of one of our layers."""
    return {"__class__": f"flow_models.bijectors.{name}", **fields}


def damage_header(folder, **changes):
    file = folder / "model.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def save_with(folder, **changes):
    """The folder of a model as if it had been saved with another header: its checksum is right."""
    header = archive.read_header(folder, "model", "model")
    arrays = archive.read_arrays(folder, header, "model")
    archive.write(str(folder), "model", arrays, {**header, **changes})


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda f: (f / "model.json").unlink(), "holds no model"),
        (lambda f: (f / "model.json").write_text("{"), "damaged: it is not the header of a model"),
        (lambda f: (f / "model.json").write_text("[]"), "damaged"),
        (lambda f: next(f.glob("*.npz")).unlink(), "not a whole model: .* is missing"),
        (lambda f: next(f.glob("*.npz")).write_bytes(b"PK"), "checksum"),
        (
            lambda f: damage_header(f, format=99),
            "is of format 99, this version reads 3: install a newer",
        ),
        (lambda f: save_with(f, layer=part("coupling:Nonsense")), "does not have"),
        (lambda f: save_with(f, layer=part("coupling:Coupling", sizes=2)), "does not fit"),
        (lambda f: save_with(f, layer={"__class__": "Coupling"}), "an older flow_models"),
        (lambda f: save_with(f, layer={"__class__": "lost:Layer"}), "'lost', which cannot be"),
        (lambda f: save_with(f, layer={"__class__": "os:system"}), "is no Serializable class"),
        (lambda f: save_with(f, codecs={"x": to_config(Columns(["a"]))}), "column names"),
        (lambda f: save_with(f, dtype="float31"), "damaged"),
        (lambda f: damage_header(f, layer=to_config(ActNorm(2))), "checksum"),
        (lambda f: save_with(f, layer=to_config(ActNorm(2))), "weights do not fit its description"),
        (lambda f: save_with(f, partition=5), "damaged"),
    ],
)
def test_wrong_or_damaged_folders_give_one_clear_line(damage, message, tmp_path):
    small_model().save(str(tmp_path))
    damage(tmp_path)
    with pytest.raises(fm.UserError, match=message) as caught:
        fm.load(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [1, 2])
def test_models_of_older_formats_are_refused_in_one_line(number, tmp_path):
    """As versions 1 and 2 wrote them: with "columns", or with an "event" and no codecs."""
    small_model().save(str(tmp_path))
    file = tmp_path / "model.json"
    header = json.loads(file.read_text())
    del header["codecs"], header["data_model"]
    header |= {"format": number, "columns": ["a", "b"]} if number == 1 else {"format": number}
    header["layer"] = {"__class__": "Chain", "layers": []}  # without a module, as then
    file.write_text(json.dumps(header))
    with pytest.raises(fm.UserError) as caught:
        fm.load(str(tmp_path))
    assert str(caught.value) == (
        f"{tmp_path} is of format {number}, which this version does not read: train the model anew,"
        " or load it with the version that saved it"
    )


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda m: m.log_prob(np.zeros((3, 3))), r"shape \[..., 2\] \(x1, x2\), got \[3, 3\]"),
        (lambda m: m.log_prob(1.0), r"got \[\]"),
        (lambda m: m.encode("abc"), "must be numbers"),
        (lambda m: m.sample(-1), "whole number of at least 0, got -1"),
        (lambda m: m.sample(1.5), "whole number of at least 0, got 1.5"),
        (lambda m: fm.Model(m.bijector, codecs={"w": ["a"]}), "a codec for 'w'; the blocks are x"),
        (lambda m: fm.Model(fm.FlowBijector(Chain([]))), "how many dimensions .* give a partition"),
        (lambda m: m.classify([[0.0, 0.0]]), "this model has no classes"),
        (lambda m: m.posterior([0.0, 0.0], 3), "it has no posterior"),
        (lambda m: m.predict([0.0, 0.0], 3), "it has no posterior"),
        (lambda m: m.simulator, "not of an inverse problem"),
        (
            lambda m: fm.Model(
                m.bijector, fm.Partition({"x": 1, "eps": 1}, {"y": 1, "z": 1})
            ).log_prob([0], [0]),
            "the inputs are x, eps: the density of x alone is not known in this form",
        ),
        (lambda m: fm.Model(m.bijector, codecs={"x": ["a"]}), "1 column names for .* 2 dimensions"),
    ],
)
def test_wrong_use(call, message):
    with pytest.raises(fm.UserError, match=message):
        call(fm.Model(fm.realnvp(2, **SMALL)))


def test_without_xla_the_numbers_are_the_same():
    model = small_model(jit=True)
    plain = fm.Model(model.bijector, jit=False)
    x = np.random.default_rng(1).normal(size=(2000, 2)).astype("f")
    np.testing.assert_allclose(plain.log_prob(x), model.log_prob(x), atol=1e-4)
    assert isinstance(plain.bijector, tf.Module)
