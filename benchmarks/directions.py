"""What the two directions of each family cost: CPU milliseconds for 10,000 rows, and their ratio.

    python benchmarks/directions.py
    python benchmarks/directions.py maf naf umnn --sizes 2 16

One layer of each family, away from its start, compiled by XLA in float32; CPU time of all threads,
the least of five runs.
"""

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("planar", "radial", "sylvester", "maf", "naf", "umnn", "hint", "hyperbolic", "irim")
ROWS = 10_000


def main() -> None:
    sys.path.insert(0, str(ROOT))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=NAMES, help="architectures")
    parser.add_argument("--sizes", nargs="+", type=int, default=[2, 8], help="dimensions")
    told = parser.parse_args()
    print("| family | dimensions | forward, ms | inverse, ms | ratio |\n|---|---|---|---|---|")
    for name in told.names:
        for size in told.sizes:
            forward, inverse = measured(name, size)
            row = f"{forward:.1f} | {inverse:.1f} | {inverse / forward:.1f}"
            print(f"| {name} | {size} | {row} |", flush=True)


def measured(name: str, size: int) -> list[float]:
    """CPU milliseconds of forward and of inverse."""
    import numpy as np
    import tensorflow as tf

    import flow_models as fm
    from flow_models.bijectors.layer import leaves

    rng = np.random.default_rng(0)
    flow = fm.architectures.build(name, size, depth=1, hidden=(64, 64))
    for variable in leaves(flow.weights).values():
        if variable.trainable:
            variable.assign_add(0.1 * rng.normal(size=variable.shape).astype("f"))
    x, found = tf.constant(rng.normal(size=(ROWS, size)).astype("f")), []
    for direction in (flow.layer.forward_and_log_det, flow.layer.inverse_and_log_det):
        run = tf.function(
            lambda v, direction=direction: direction(flow.weights, v),
            jit_compile=True,
            autograph=False,
        )
        run(x)
        found.append(min(cpu_seconds(run, x) for _ in range(5)) * 1000)
        x = run(x)[0]
    return found


def cpu_seconds(run, x) -> float:
    start = time.process_time()
    run(x)[0].numpy()
    return time.process_time() - start


if __name__ == "__main__":
    main()
