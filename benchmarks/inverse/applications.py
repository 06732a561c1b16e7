"""Applications 5 to 7 as problems of the comparison, in whitened parameters: the simulators of
this project, with exact draws or long Markov chains as references."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable

import numpy as np

from inverse.problems import PROBLEMS, Problem

FEWEST = 10  # pairs to train on
CHAINS, KEPT_ONE_IN = 4, 4  # chains of a posterior, and draws of each


@dataclasses.dataclass(frozen=True)
class Simulated(Problem):
    """A simulator of this project. It is imported where it is used: peers' environments do without.

    Attributes:
      simulator: () -> the simulator.
      components: of the data, that the flow behind a Gauss-Newton frame sees; 0: there is no frame.
    """

    prior: Callable | None = None
    simulate: Callable | None = None
    reference: Callable | None = None
    simulator: Callable = lambda: None
    components: int = 0

    def pairs(self, n, seed):
        from flow_models.applications.inverse.problem import draw

        part = seed[1] if seed[1] < FEWEST else 0  # of a test, of observations, or of training
        found = draw(self.simulator(), n, seed[0] % 2**31, part)
        return found.theta, found.y

    def references(self, observed, n, rng):
        """Exact draws, or the halves of four chains, thinned."""
        if self.reference is not None:
            return super().references(observed, n, rng)
        from flow_models.references.reference import Sampling, reference

        simulator = self.simulator()
        draws = -(-2 * n * KEPT_ONE_IN // CHAINS)
        settings = {"chains": CHAINS, "thin": KEPT_ONE_IN, "draws": draws, **simulator.sampling}
        found = reference(simulator, observed, Sampling(**settings))
        said = f"R-hat at most {found.rhat.max():.3f}, effective size {found.effective.min():,.0f}"
        print(f"reference: {said}, {found.seconds:.0f} s", file=sys.stderr, flush=True)
        return [half[:, :n].astype(np.float32) for half in found.halves()]


def _kinematics():
    from flow_models.simulators.kinematics import Kinematics

    return Kinematics()


def _pose(y, n, rng):
    """Exact draws of the arm's pose, theta [n, 4]."""
    from flow_models.simulators.kinematics import SD, exact_posterior

    x = exact_posterior(y, n, int(rng.integers(2**31)))[0][0]
    return (x / np.asarray(SD)).astype(np.float32)


def _gravity():
    from flow_models.simulators.gravity import Gravity

    return Gravity()


def _seismograms():
    from flow_models.simulators.seismic import Seismograms

    return Seismograms()


APPLICATIONS = {
    "kinematics": Simulated(simulator=_kinematics, reference=_pose),
    "gravity": Simulated(simulator=_gravity, components=20),
    "seismograms": Simulated(simulator=_seismograms, components=40),
}
ALL = {**PROBLEMS, **APPLICATIONS}
