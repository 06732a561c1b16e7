"""Blocks of both sides and the base distribution."""

import numpy as np
import pytest
import scipy.stats

from flow_models import Partition, UserError


def test_split_and_join_are_inverse():
    partition = Partition(inputs={"x": 2, "pad": 3}, outputs={"y": 1, "z": 4})
    array = np.arange(10.0).reshape(2, 5)
    for side in ("inputs", "outputs"):
        blocks = partition.split(side, array)
        assert [b.shape[-1] for b in blocks.values()] == list(getattr(partition, side).values())
        np.testing.assert_array_equal(partition.join(side, **blocks), array)


def test_base_density_and_draws_given_y():
    partition = Partition(inputs={"x": 3}, outputs={"y": 1, "z": 2}, sigma_y=0.2)
    v = np.random.default_rng(0).normal(size=(5, 3))
    y = np.full((5, 1), 0.7)
    expected = scipy.stats.norm(0.7, 0.2).logpdf(v[:, 0]) + scipy.stats.norm().logpdf(v[:, 1:]).sum(
        1
    )
    np.testing.assert_allclose(partition.base_log_prob(v, y), expected)
    standard = partition.standard_sample(4000, (1, 2))
    draws = partition.from_standardised(standard, y[0].astype("f")).numpy()
    np.testing.assert_allclose(draws.mean(0), [0.7, 0, 0], atol=0.06)
    np.testing.assert_allclose(draws.std(0), [0.2, 1, 1], atol=0.05)
    np.testing.assert_array_equal(standard, partition.standard_sample(4000, (1, 2)))


def test_blocks_of_width_0_are_left_out():
    sides = dict(inputs={"x": 2, "pad": 0}, outputs={"y": 2, "z": 0}, given={"noise": 0})
    partition = Partition(**sides)
    assert partition == Partition(inputs={"x": 2}, outputs={"y": 2})
    assert (partition.observed, partition.given, partition.given_size) == (("y",), {}, 0)
    assert list(partition.split("inputs", np.zeros((3, 2)))) == ["x"]
    assert partition.join("outputs", y=np.zeros((3, 2))).shape == (3, 2)


def test_y_fills_what_is_observed_and_nothing_else():
    for sides, observed, size in (
        (dict(inputs={"x": 3}, outputs={"z": 3}), (), 0),
        (dict(inputs={"x": 3}, outputs={"y": 2, "z": 1}), ("y",), 0),
        (dict(inputs={"x": 3}, outputs={"z": 3}, given={"y": 4}), ("y",), 4),
        (dict(inputs={"x": 2, "eps": 1}, outputs={"y": 1, "z": 2}, given={"level": 1}), None, 1),
    ):
        partition = Partition(**sides)
        assert partition.observed == (observed if observed is not None else ("y", "level"))
        assert partition.given_size == size


def test_standardised_outputs_are_those_of_the_latents_in_units_of_y():
    partition = Partition(inputs={"x": 3}, outputs={"y": 1, "z": 2}, sigma_y=0.2)
    v = np.random.default_rng(0).normal(size=(5, 3))
    y = np.full((5, 1), 0.7)
    standard = partition.standardised(v, y).numpy()
    np.testing.assert_allclose(standard[:, 0], (v[:, 0] - 0.7) / 0.2)
    np.testing.assert_allclose(partition.from_standardised(standard, y), v)
    np.testing.assert_allclose(partition.with_y(v, y), np.concatenate([y, v[:, 1:]], 1))
    plain = Partition(inputs={"x": 3}, outputs={"z": 3})
    np.testing.assert_array_equal(plain.standardised(v), v)
    with pytest.raises(UserError, match="sampling_temperature is -1; it must be a number of at l"):
        partition.standard_sample(3, (0, 1), temperature=-1)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(inputs={"x": 3}, outputs={"z": 2}), "have 3 dimensions and outputs .* have 2"),
        (
            dict(inputs={"x": 0}, outputs={"z": 0}),
            "at least one block of inputs and one of outputs",
        ),
        (
            dict(inputs={"x": 2.0}, outputs={"z": 2}),
            "inputs block 'x' has width 2.0; a width is a whole number of at least 0",
        ),
        (dict(inputs={"x": 1}, outputs={"z": 1}, given={"y": -2}), "given block 'y' has width -2"),
        (dict(inputs={"x": 1}, outputs={"z": True}), "width True"),
        (dict(inputs={"x": -1}, outputs={"z": -1}), "width -1"),
        (dict(inputs={}, outputs={}), "at least one block"),
        (dict(inputs={"x": 1}, outputs={"y": 1}, sigma_y=0.0), "sigma_y is 0.0"),
    ],
)
def test_wrong_partitions(arguments, message):
    with pytest.raises(UserError, match=message):
        Partition(**arguments)


def test_wrong_blocks():
    partition = Partition(inputs={"x": 2}, outputs={"y": 1, "z": 1})
    with pytest.raises(UserError, match="the outputs are .*'y', 'z'.*, got .*'y'"):
        partition.join("outputs", y=np.zeros((3, 1)))
    with pytest.raises(UserError, match="block 'y' of the outputs has width 1, got shape"):
        partition.join("outputs", y=np.zeros((3, 2)), z=np.zeros((3, 1)))
    with pytest.raises(UserError, match="have 2 dimensions, got"):
        partition.split("inputs", np.zeros((3, 3)))
    with pytest.raises(UserError, match="give y"):
        partition.base_log_prob(np.zeros((3, 2)))
