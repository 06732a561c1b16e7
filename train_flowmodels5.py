"""Application 5, ill-conditioned parameter estimation: poses of an arm from its end point, throws
from where they land.

    x parameters (P)   <->   z (P), given y data       conditional (default)
    x parameters (P)   <->   y data (K) | z (P - K)    joint

    python train_flowmodels5.py                     # the arm, against 1,000 exact posteriors
    python train_flowmodels5.py --problem ballistics
    python train_flowmodels5.py --observed ends.csv # end_horizontal, end_vertical (or landing_m)
    python train_flowmodels5.py --form joint        # data among the outputs of the network
    python train_flowmodels5.py --preset smoke      # to see it run

Data have no noise; the network is trained with noise that falls to a small tolerance. Expect of the
arm a resimulation_mse of about 0.0001 and a posterior_mmd below 0.002; doc/results.md has the
measured values.
"""

from __future__ import annotations

import flow_models as fm
from flow_models.applications import settings
from flow_models.applications.settings import ExtraLosses, Inverse, PosteriorNetwork


@fm.settings
class Config:
    """Settings of application 5."""

    problem: str = "kinematics"
    """kinematics (an arm of three segments) or ballistics (a throw against air resistance)"""
    tolerance: float = 0.0
    """sd of the data at the end of training; 0: 0.004 for kinematics, 0.02 m for ballistics"""
    first_noise: float = 25.0
    """noise at the start of training, times the tolerance"""
    noise_share: float = 0.6
    """part of the training over which the noise falls to the tolerance"""
    rare_oversampling: float = 0.5
    """how much more often training sees rare observations; 0: as the prior has them"""
    fourier_features: int = 2
    """multiples of the normal scores of y whose sines and cosines the network also sees"""
    corrected: int = 200
    """observations with exact posteriors that the corrections are applied to"""
    onto_data: str = "auto"
    """steps of samples onto the data: auto (effective share below 0.1), always or never"""
    joint_sigma: float = 25.0
    """joint form: width of the likelihood of y, times the tolerance"""
    joint_steps: int = 5000
    """most steps of the joint form beside the conditional one; more steps do not help it"""
    inverse: Inverse = Inverse(references=1000)
    network: PosteriorNetwork = PosteriorNetwork(layers_per_loop_body=0)
    losses: ExtraLosses = ExtraLosses()
    fit: fm.FitSettings = fm.FitSettings()
    run: fm.RunSettings = fm.RunSettings()

    def __post_init__(self):
        settings.check_estimation(self)


TUNED = {"beta2": 0.995, "warmup_steps": 300, "clip_norm": 10.0, "microbatches": 2}
PRESETS = {
    "smoke": {
        "steps": 200,
        "batch_size": 128,
        "simulations": 5000,
        "validation_draws": 500,
        "test_draws": 50,
        "references": 10,
        "corrected": 5,
        "posterior_samples": 200,
        "depth": 2,
        "hidden": (32,),
        "compare": False,
        "layers_per_loop_body": 1,
    },
    "default": {"steps": 12_000, **TUNED},
    "full": {
        "steps": 60_000,
        "batch_size": 1024,
        "joint_steps": 20_000,
        "corrected": 1000,
        **TUNED,
    },
}


def partitions(config: Config, problem) -> dict[str, fm.Partition]:
    p, m = problem.simulator.size, problem.simulator.data_size
    components = problem.components_for(most=min(m, p))
    k, sigma = components.flat_size, config.joint_sigma / components.scale
    return {
        "conditional": fm.Partition({"x": p}, {"z": p}, given={"y": m}),
        "joint": fm.Partition({"x": p}, {"y": k, "z": p - k}, sigma_y=sigma),
    }


def load_data(config: Config):
    """The simulator, the exact sampler beside it, pairs, and the user's data."""
    from flow_models.applications.inverse import exact_evaluation

    return exact_evaluation.load(config)


def build_model(config: Config, problem, partition: fm.Partition) -> fm.Model:
    from flow_models.applications.inverse import models

    form = models.joint if config.inverse.form == "joint" else models.conditional
    return form(config, problem, partition)


def training(config: Config, problem, model) -> fm.Training:
    """Fresh draws whose noise falls to the tolerance; pairs drawn ahead for the joint form."""
    from flow_models.applications.inverse import exact_evaluation

    return exact_evaluation.training(config, problem, model)


def evaluate(run) -> fm.Results:
    """Calibration, and errors against exact posteriors, before and after corrections."""
    from flow_models.applications.inverse import exact_evaluation

    return exact_evaluation.evaluate(run)


APPLICATION = fm.Application(
    Config, PRESETS, partitions, load_data, build_model, evaluate, training
)

if __name__ == "__main__":
    fm.run(APPLICATION)
