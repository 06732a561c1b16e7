"""Application 4, generative classification of data vectors: a density for every class.

    x vectors (D)                    <->   z (D), given y label    mixture (default), conditional
    x vectors (D) | pad, if D < M    <->   y label (M) | z         joint

    python train_flowmodels4.py                       # eight modes, eight classes: all three forms
    python train_flowmodels4.py --labels some         # four classes, one of them of four modes
    python train_flowmodels4.py --data wine           # or iris, breast_cancer, digits
    python train_flowmodels4.py --data my.csv --label-column species
    python train_flowmodels4.py --data my.csv --label-column species --form conditional  # kinds
    python train_flowmodels4.py --data wine --unknown class_2  # a class left out of training
    python train_flowmodels4.py --labelled 16         # few labels; --label-study: the curve
    python train_flowmodels4.py --preset smoke        # to see it run

Expect of the eight modes an accuracy of 1.000 and a kl_to_truth of at most 0.01 nats, and samples
of the class of four modes within half a point of a quarter in each; of the tables, accuracies not
below the baselines beside them.
"""

from __future__ import annotations

import flow_models as fm
from flow_models.applications.settings import Classifier, VectorNetwork


@fm.settings
class Config:
    """Settings of application 4."""

    data: str = "eight_modes"
    """eight_modes, iris, wine, breast_cancer, digits, or a table, local or s3://"""
    labels: str = "all"
    """classes of the eight modes: all (eight), some (four) or none (one)"""
    label_column: str = ""
    """column of your table that holds the classes, text or numbers; empty cells: no label"""
    columns: list[str] | None = None
    """columns of the table to use; null: all others"""
    kinds: dict[str, str] | None = None
    """kinds of columns by name, '{angle: circular 360, alarms: count}'; null: all are numbers, or,
    where there is text or a date, as found. They need --form conditional"""
    missing: str = "refuse"
    """rows of your table with missing or infinite numbers: refuse the table, or drop the rows"""
    covariance: str = "full"
    """mixture: full or diagonal, of the Gaussian of each class"""
    smoothing: float | None = None
    """noise in training, in sds within the classes; null: 0.3 up to 1,000 rows, then 300 / rows"""
    unskew: bool = True
    """a power transformation of each column first, chosen from the training rows"""
    test_points: int = 20_000
    """fresh points of the eight modes for the test; tables are split 64 : 16 : 20"""
    classifier: Classifier = Classifier(compare=True)
    network: VectorNetwork = VectorNetwork()
    fit: fm.FitSettings = fm.FitSettings()
    run: fm.RunSettings = fm.RunSettings()


PRESETS = {
    "smoke": {
        "steps": 300,
        "batch_size": 128,
        "depth": 3,
        "hidden": (32, 32),
        "test_points": 4000,
        "compare": False,
    },
    "default": {"steps": 3000, "batch_size": 256},
    "full": {
        "steps": 12_000,
        "batch_size": 512,
        "hidden": (128, 128),
        "label_study": True,
        "beta_study": True,
    },
}


def partitions(config: Config, problem) -> dict[str, fm.Partition]:
    d, m = len(problem.columns), len(problem.classes)
    pad = max(m - d, 0)
    return {
        "mixture": fm.Partition({"x": d}, {"z": d}, given={"y": m}),
        "conditional": fm.Partition({"x": d}, {"z": d}, given={"y": m}),
        "joint": fm.Partition(
            {"x": d, "pad": pad}, {"y": m, "z": d + pad - m}, sigma_y=config.classifier.sigma_y
        ),
    }


def load_data(config: Config):
    """Labelled rows in parts, and a simulator where there is one."""
    from flow_models.applications.classes import vectors

    return vectors.load(config)


def build_model(config: Config, problem, partition: fm.Partition) -> fm.Model:
    from flow_models.applications.classes import vectors

    form, classes = config.classifier.form, len(problem.classes)
    flow = vectors.network(config, problem, partition.size, classes * (form == "conditional"))
    if form == "mixture":
        flow = fm.architectures.class_mixture(flow, partition.size, classes, config.covariance)
    columns, labels = vectors.columns(config, problem), fm.Labels(problem.classes, problem.priors)
    return fm.Model(flow, partition, {"x": columns, "y": labels}, jit=config.fit.jit)


def training(config: Config, problem, model) -> fm.Training:
    """-log p(x) + beta * -log p(y | x); few rows take fewer steps and noise."""
    from flow_models.applications.classes import vectors

    return vectors.training(config, problem, model)


def evaluate(run) -> fm.Results:
    """The density, the classification, the other forms and baselines; for the modes, samples."""
    from flow_models.applications.classes import study, vectors

    metrics, table = study.compare(run, vectors.beta_of)
    if run.config.data == vectors.EIGHT_MODES and not run.config.classifier.unknown:
        metrics |= vectors.samples_of_modes(run.model, run.config.labels, run.config.test_points)
    figures, tables = study.studies(run, vectors.beta_of, vectors.BETAS)
    return fm.Results(metrics, [table, *tables], [*vectors.figures(run, metrics), *figures])


APPLICATION = fm.Application(
    Config, PRESETS, partitions, load_data, build_model, evaluate, training
)

if __name__ == "__main__":
    fm.run(APPLICATION)
