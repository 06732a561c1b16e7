"""How near a Laplace frame alone, with no flow trained behind it, comes to the exact posteriors:
KL(frame, posterior).

    python benchmarks/frames.py

From importance weights with the exact likelihood: 40 observations of the prior, 4,000 samples each.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from flow_models.core.startup import load_tensorflow  # noqa: E402

load_tensorflow()

from flow_models.applications.inverse import pairs, posterior_study  # noqa: E402
from flow_models.architectures import vectors as architectures  # noqa: E402
from flow_models.bijectors.frames import LaplaceFrame  # noqa: E402
from flow_models.models import posterior_model  # noqa: E402
from flow_models.simulators.gravity import Gravity  # noqa: E402
from flow_models.simulators.seismic import Seismograms  # noqa: E402

SEED, OBSERVATIONS, KEPT = 9, 40, 500  # eight samples are drawn for one that is kept
PROBLEMS = {
    "gravity, 0.5 mGal": (Gravity(), 20),
    "gravity, 0.25 mGal": (Gravity(tolerance=0.25), 20),
    "gravity, contrast decaying over 3 km": (Gravity(decay=3.0), 20),
    "seismograms": (Seismograms(), 40),
    "seismograms, layers of fixed thickness": (Seismograms(layer_thickness=0.035), 40),
}


def identity(size: int, width: int):
    """A flow that nothing has been taught: z as it is."""
    return architectures.build(
        "realnvp", size, depth=1, hidden=(8,), condition_size=width, standardise=False
    )


if __name__ == "__main__":
    for name, (simulator, components) in PROBLEMS.items():
        measured = pairs.draw(simulator, 4000, SEED)
        observed = pairs.draw(simulator, OBSERVATIONS, SEED, 2).y
        model = posterior_model.untrained(
            LaplaceFrame(simulator, components), measured.theta, measured.y, identity
        )
        _, sizes, _, divergence = posterior_study.corrected(model, observed, KEPT, seed=0)
        share = sizes / (posterior_study.OVERSAMPLED * KEPT)
        print(
            f"{name}: KL mean {divergence.mean():.4f}, largest {divergence.max():.4f} nats;"
            f" effective share, smallest {share.min():.3f}",
            flush=True,
        )
