"""Tolerance of a continuous flow against error and evaluations of its velocity field.

    python benchmarks/solver.py            # a flow matched on moons for 4,000 steps

Errors are those of log p and of a round trip beside the same flow in 64-bit numbers at 1e-10.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="moons", help="a set of known density")
    parser.add_argument("--steps", type=int, default=4000, help="of training")
    parser.add_argument("--architecture", default="flow_matching", help="or ot_flow, ffjord")
    told = parser.parse_args()
    model, x = trained(told)
    print("| tolerance | evaluations, mean | at most | error of log p, median | 99% | round trip |")
    print("|---|---:|---:|---:|---:|---:|")
    for row in table(model, x):
        print("| " + " | ".join(row) + " |", flush=True)


def trained(told):
    """The model, and fresh points."""
    import flow_models as fm
    from flow_models.data import points

    truth = points.get(told.data)
    model = fm.Model(fm.architectures.build(told.architecture, truth.event_size))
    fm.fit(model, truth.draw, settings=fm.FitSettings(steps=told.steps, batch_size=512))
    return model, truth.draw(2000, (0, -3)).numpy()


def table(model, x):
    """A row a tolerance."""
    import tensorflow as tf

    from flow_models.bijectors.layer import leaves, rebuild

    front, layer = model.layer.layers
    weights = model.weights[1]
    precise = rebuild(weights, [tf.cast(w, tf.float64) for w in leaves(weights).values()])
    start = front.forward_and_log_det(model.weights[0], tf.constant(x))[0]
    exact = at_tolerance(layer, 1e-10, precise, tf.cast(start, tf.float64))[0]
    for tolerance in TOLERANCES:
        log_p, back, counts = at_tolerance(layer, tolerance, weights, start)
        errors = np.abs(log_p - exact)
        trip = np.abs(back - start.numpy()).max(1)
        yield (
            f"{tolerance:.0e}",
            f"{counts.mean():.0f}",
            f"{counts.max()}",
            f"{np.median(errors):.1e}",
            f"{np.quantile(errors, 0.99):.1e}",
            f"{np.quantile(trip, 0.99):.1e}",
        )


def at_tolerance(layer, tolerance, weights, x):
    """log p in units of the layer, x after a round trip, and the evaluations of each row."""
    import tensorflow as tf

    layer = dataclasses.replace(layer, tolerance=tolerance)

    @tf.function(jit_compile=True, autograph=False)
    def run(x):
        z, log_det = layer.forward_and_log_det(weights, x)
        log_p = log_det - 0.5 * tf.reduce_sum(z * z, 1)
        back = layer.inverse_and_log_det(weights, z)[0]
        return log_p, back, layer.evaluations(weights, x)

    return [each.numpy() for each in run(x)]


if __name__ == "__main__":
    main()
