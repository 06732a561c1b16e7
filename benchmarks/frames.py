"""KL(frame, posterior): how close a Laplace frame without any trained flow comes to the exact
posteriors.

    python benchmarks/frames.py

From importance weights with the exact likelihood: 40 observations from the prior, 4,000 samples
each.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from flow_models.core.startup import load_tensorflow

load_tensorflow()

from flow_models import architectures  # noqa: E402
from flow_models.applications.inverse import models, study  # noqa: E402
from flow_models.applications.inverse.problem import draw  # noqa: E402
from flow_models.bijectors.frames import Frame, LaplaceFrame  # noqa: E402
from flow_models.models.model import Model  # noqa: E402
from flow_models.models.partition import Partition  # noqa: E402
from flow_models.models.problem import Data, Parameters  # noqa: E402
from flow_models.simulators.gravity import Gravity  # noqa: E402
from flow_models.simulators.seismic import Seismograms  # noqa: E402

SEED, OBSERVATIONS, KEPT = 9, 40, 500  # eight samples are drawn for each one kept
PROBLEMS = {
    "gravity, 0.5 mGal": (Gravity(), 20),
    "gravity, 0.25 mGal": (Gravity(tolerance=0.25), 20),
    "gravity, contrast decaying over 3 km": (Gravity(decay=3.0), 20),
    "seismograms": (Seismograms(), 40),
    "seismograms, layers of fixed thickness": (Seismograms(layer_thickness=0.035), 40),
}


def untrained(frame: Frame) -> Model:
    """A model whose flow returns z unchanged."""
    simulator, size = frame.simulator, frame.simulator.size
    options = {"depth": 1, "hidden": (8,), "standardise": False}
    flow = architectures.build("realnvp", size, condition_size=frame.context_size, **options)
    partition = Partition({"x": size}, {"z": size}, given={"y": simulator.data_size})
    codecs = {"x": Parameters(simulator), "y": Data(simulator)}
    return Model(architectures.framed(flow, frame), partition, codecs)


if __name__ == "__main__":
    for name, (simulator, components) in PROBLEMS.items():
        model = untrained(LaplaceFrame(simulator, components))
        models.measure(model, draw(simulator, 4000, SEED))
        observed = draw(simulator, OBSERVATIONS, SEED, 2).y
        _, sizes, _, divergence = study.corrected(model, observed, KEPT, seed=0)
        share = sizes / (study.OVERSAMPLED * KEPT)
        print(
            f"{name}: KL mean {divergence.mean():.4f}, largest {divergence.max():.4f} nats;"
            f" smallest ess_fraction {share.min():.3f}",
            flush=True,
        )
