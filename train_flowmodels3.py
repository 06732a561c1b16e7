"""Application 3, generative classification of images: a density for every class of pictures.

    x images (N)   <->   z (N), given y label     conditional (default), mixture
    x images (N)   <->   y label (M) | z          joint
    x images (N)   <->   z (N)                    the same network without classes, beside them

    python train_flowmodels3.py                    # silhouettes of ten animals
    python train_flowmodels3.py --data mnist       # or digits
    python train_flowmodels3.py --train-uri s3://bucket/parts --image-size 32    # a folder a class
    python train_flowmodels3.py --compare          # three forms side by side
    python train_flowmodels3.py --unknown zebra    # a class that training does not see
    python train_flowmodels3.py --labelled 640     # few labels; --label-study, --beta-study: curves
    python train_flowmodels3.py --preset smoke     # to see it run

Expect of the silhouettes an accuracy of 0.95 (0.94 of a support vector machine), an expected
calibration error of at most 0.03, and bits_per_dim within 5% of those without classes.
"""

from __future__ import annotations

import flow_models as fm
from flow_models.applications.settings import Classifier, ImageNetwork, Measured, Pictures


@fm.settings
class Config:
    """Settings of application 3."""

    conditioned: int = 1
    """conditional: levels that see the class, the coarsest; 0: all, at a pass a class"""
    margin: float = 4.0
    """divides log p(x | class) in the loss of p(class | x): larger ones ask for wider margins"""
    unconditional: bool = True
    """train the same network without classes too, to compare bits per dimension"""
    sampling_temperature: float = 0.8
    """of the samples in the figures"""
    pictures: Pictures = Pictures(flip=None)
    classifier: Classifier = Classifier(form="conditional", passes=40)
    network: ImageNetwork = ImageNetwork(levels=0, depth=4)
    measured: Measured = Measured()
    fit: fm.FitSettings = fm.FitSettings(learning_rate=3e-3, ema=0.995, eval_every_steps=200)
    run: fm.RunSettings = fm.RunSettings()


PRESETS = {
    "smoke": {
        "data": "digits",
        "steps": 150,
        "batch_size": 64,
        "depth": 2,
        "hidden": (24, 24),
        "learning_rate": 5e-3,
        "ema": 0.98,
        "eval_every_steps": 15,
        "unconditional": False,
    },
    "default": {"steps": 3200, "batch_size": 32},
    "full": {
        "steps": 20_000,
        "batch_size": 64,
        "learning_rate": 2e-3,
        "depth": 8,
        "hidden": (96, 96),
        "ema": 0.999,
        "eval_every_steps": 400,
        "passes": 200,
        "compare": True,
    },
}


def partitions(config: Config, problem) -> dict[str, fm.Partition]:
    n, m, sigma_y = problem.pixels.flat_size, len(problem.classes), config.classifier.sigma_y
    found = {
        "conditional": fm.Partition({"x": n}, {"z": n}, given={"y": m}),
        "mixture": fm.Partition({"x": n}, {"z": n}, given={"y": m}),
        "unconditional": fm.Partition({"x": n}, {"z": n}),
    }
    if m <= n:  # `load` refuses joint elsewhere
        found["joint"] = fm.Partition({"x": n}, {"y": m, "z": n - m}, sigma_y=sigma_y)
    return found


def load_data(config: Config):
    """Labelled pictures in parts."""
    from flow_models.applications.classes import pictures

    return pictures.load(config)


def build_model(config: Config, problem, partition: fm.Partition) -> fm.Model:
    form, given = config.classifier.form, partition.given.get("y", 0)
    options = config.network.options(levels=problem.levels, seed=config.fit.seed)
    seen = {"condition_size": given, "conditioned": config.conditioned}
    options |= seen if form == "conditional" else {}
    flow = fm.architectures.build_image(options.pop("architecture"), problem.pixels, **options)
    if given and form == "mixture":
        flow = fm.architectures.class_mixture(flow, partition.size, given, "diagonal")
    codecs = {"x": problem.pixels}
    if partition.observed:
        codecs["y"] = fm.Labels(problem.classes, problem.priors, mirrored=problem.mirrored)
    return fm.Model(flow, partition, codecs, jit=config.fit.jit)


def training(config: Config, problem, model) -> fm.Training:
    """-log p(x) + beta * -log p(y | x); calibrated on the validation pictures."""
    from flow_models.applications.classes import pictures

    return pictures.training(config, problem, model)


def evaluate(run) -> fm.Results:
    """Classification and calibration, other forms and baselines, and figures of pictures."""
    from flow_models.applications.classes import pictures

    return pictures.evaluate(run)


APPLICATION = fm.Application(
    Config, PRESETS, partitions, load_data, build_model, evaluate, training
)

if __name__ == "__main__":
    fm.run(APPLICATION)
