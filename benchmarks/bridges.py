"""The bridge between two modes, which a bijection of the plane cannot do without: mass where the
truth has little, beside the truth's.

    python benchmarks/bridges.py
    python benchmarks/bridges.py rad mixture --steps 500

The data are Gaussians at x1 = -3 and 3 of sd 0.5, with x2 ~ N(0, 1); the place between is
|x1| < 1.5, with a mass of 0.00135. Masses are sums of the density over a grid.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("spline_coupling", "rad", "mixture", "flow_mixture", "resampled", "stochastic")
AT, SD, EDGE = 3.0, 0.5, 1.5


def main() -> None:
    sys.path.insert(0, str(ROOT))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=NAMES, help="architectures")
    parser.add_argument("--steps", type=int, default=2000, help="of training, 256 rows each")
    told = parser.parse_args()
    print(
        "| family | mass between, times the truth's | whole mass | kl_to_truth |\n|---|---|---|---|"
    )
    for name in told.names:
        between, whole, gap = measured(name, told.steps)
        print(f"| {name} | {between:.2f} | {whole:.3f} | {gap:.4f} |", flush=True)


def measured(name: str, steps: int) -> tuple[float, float, float]:
    """The mass between the modes, as a multiple of the truth's; all of it; the mean gap of log p,
    nats."""
    import flow_models as fm

    model = fm.Model(fm.architectures.build(name, 2, depth=2, hidden=(64,), seed=1))
    settings = fm.FitSettings(steps=steps, batch_size=256, learning_rate=5e-3, ema=0.995)
    rows = drawn(200_000, 0)
    fm.fit(model, rows[:-2000], validation=rows[-2000:], settings=settings)
    axis = np.linspace(-6, 6, 161, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    cell, between = (axis[1] - axis[0]) ** 2, np.abs(grid[:, 0]) < EDGE
    found, true = (np.exp(log_p) * cell for log_p in (model.log_prob(grid), log_truth(grid)))
    held = drawn(4000, 1)
    gap = np.mean(log_truth(held) - model.log_prob(held))
    return found[between].sum() / true[between].sum(), found.sum(), float(gap)


def drawn(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    side = rng.choice([-AT, AT], n)
    return np.stack([side + SD * rng.normal(size=n), rng.normal(size=n)], 1).astype(np.float32)


def log_truth(x: np.ndarray) -> np.ndarray:
    parts = [-0.5 * ((x[:, 0] + side) / SD) ** 2 - np.log(2 * SD) for side in (-AT, AT)]
    return np.logaddexp(*parts) - 0.5 * x[:, 1] ** 2 - np.log(2 * np.pi)


if __name__ == "__main__":
    main()
