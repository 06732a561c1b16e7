"""Application 2, image generation and anomaly detection: learn pictures, draw new ones, tell which
do not belong.

    x images (H W C)   <->   z (H W C)

    python train_flowmodels2.py                    # silhouettes of cats, against animals and digits
    python train_flowmodels2.py --classes '[zebra]'   # plain likelihood fails here
    python train_flowmodels2.py --train-uri s3://bucket/parts --classes '[good]' --image-size 32
    python train_flowmodels2.py --preset smoke     # to see it run

The classes named are known; the other classes are near anomalies, the sets of --anomalies or
--anomaly-uri far ones. Expect an AUROC of at least 0.95 on digits from complexity and
likelihood_ratio; doc/anomaly_scores.md has measured values and says what the scores are.
"""

from __future__ import annotations

import flow_models as fm
from flow_models.applications.settings import ImageNetwork, Measured, Pictures


@fm.settings
class Config:
    """Settings of application 2."""

    anomalies: list[str] | None = None
    """sets inside packages, as far anomalies; null: mnist, and none beside train_uri"""
    anomaly_uri: str = ""
    """a folder or s3:// prefix of far anomalies"""
    features: str = ""
    """network in front, whose feature maps are learned in place of pixels: module:function,
    FILE.py:function or keras:NAME; no samples and no bits_per_dim then"""
    sampling_temperature: float = 1.0
    """of the samples that are compared with the training pictures"""
    background: str = "distorted"
    """what the background model of the likelihood ratio learns: the known pictures distorted,
    mutated, or none"""
    mutation: float = 0.2
    """share of pixels drawn anew in mutated pictures"""
    background_steps: int = 0
    """steps of the background model's training; 0: half of steps"""
    score: str = "combined"
    """what ranks the anomalies of the report: nll, typicality, complexity, likelihood_ratio,
    latent_norm or combined; of features the best that they have"""
    resamples: int = 1000
    """bootstrap draws of the intervals"""
    pictures: Pictures = Pictures(classes="auto")
    network: ImageNetwork = ImageNetwork()
    measured: Measured = Measured()
    fit: fm.FitSettings = fm.FitSettings()
    run: fm.RunSettings = fm.RunSettings()

    def __post_init__(self):
        from flow_models.applications.settings import check_detection

        check_detection(self)

    @property
    def far(self) -> list[str]:
        """The sets inside packages that are far anomalies."""
        pictures = self.pictures
        usual = [] if pictures.train_uri or pictures.data == "mnist" else ["mnist"]
        return usual if self.anomalies is None else self.anomalies


PRESETS = {
    "smoke": {
        "steps": 150,
        "batch_size": 32,
        "levels": 2,
        "depth": 2,
        "hidden": (24, 24),
        "learning_rate": 2e-3,
        "resamples": 200,
    },
    "default": {"steps": 2500, "batch_size": 32, "learning_rate": 3e-3, "ema": 0.995},
    "full": {
        "steps": 30_000,
        "batch_size": 64,
        "learning_rate": 2e-3,
        "depth": 16,
        "hidden": (128, 128),
        "ema": 0.999,
    },
}


def partitions(config: Config, problem) -> dict[str, fm.Partition]:
    n = problem.codec.flat_size
    return {"images": fm.Partition({"x": n}, {"z": n})}


def load_data(config: Config):
    """Known pictures in parts, and the held-out sets that are scored."""
    from flow_models.applications.pictures import detection

    return detection.load(config)


def build_model(config: Config, problem, partition: fm.Partition) -> fm.Model:
    from flow_models.applications.pictures import detection

    flow = detection.flow(config, problem)
    return fm.Model(flow, partition, {"x": problem.codec}, jit=config.fit.jit)


def training(config: Config, problem, model) -> fm.Training:
    """Maximum likelihood; minutes are shared with the background model."""
    from flow_models.applications.pictures import detection

    return detection.training(config, problem, model)


def evaluate(run) -> fm.Results:
    """Held-out bits per dimension, and how well each score finds each foreign set."""
    from flow_models.applications.pictures import detection

    return detection.evaluate(run)


APPLICATION = fm.Application(
    Config, PRESETS, partitions, load_data, build_model, evaluate, training
)

if __name__ == "__main__":
    fm.run(APPLICATION)
