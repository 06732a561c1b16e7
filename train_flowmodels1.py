"""Application 1, distribution mapping: learn the density of points, exactly, and draw new ones.

    x points (D)             <->   z (D)
    x points (D) | eps (K)   <->   z (D + K)     wider than the data: rad, augmented, vae, ...

    python train_flowmodels1.py                  # colours of a photograph, a minute and a half
    python train_flowmodels1.py --data moons     # a set of known density: metrics has kl_to_truth
    python train_flowmodels1.py --data my.csv --columns '[easting, depth]' --lower '{depth: 0}'
    python train_flowmodels1.py --data my.csv --kinds '{angle: circular 360}'   # doc/tables.md
    python train_flowmodels1.py --target funnel  # a density without data: doc/densities.md
    python train_flowmodels1.py --preset smoke   # to see it run

Expect a kl_to_truth of at most 0.003 nats for moons; doc/results.md has measured values.
"""

from __future__ import annotations

import flow_models as fm
from flow_models.applications.settings import VectorNetwork


@fm.settings
class Config:
    """Settings of application 1."""

    data: str = "photo_colours"
    """a set of known density, a real one of scikit-learn, a table, or its shards, local or s3://"""
    columns: list[str] | None = None
    """columns of the table to use; null: all"""
    kinds: dict[str, str] | None = None
    """kinds of columns by name, where those found are wrong: continuous, categorical, count,
    integer, circular, date, atom or identifier; '{angle: circular 360, rain: atom 0}'"""
    lower: list[float | None] | dict[str, float] | None = None
    """lower bound of each column, null for none, or '{depth: 0}' by name; the density may be
    positive at a bound, and no sample lies on one"""
    upper: list[float | None] | dict[str, float] | None = None
    """upper bound of each column, null for none, or by name"""
    weights: str = ""
    """column with the weight of each row; it is not learned"""
    memory_limit_mb: float = 1024.0
    """shards of tables that need more are streamed, and not read into memory"""
    missing: str = "refuse"
    """rows with missing or infinite cells: refuse, drop, or model what is there (doc/tables.md)"""
    test_points: int = 50_000
    """fresh points for the test where the density is known; tables are split 80 : 10 : 10"""
    target: str = ""
    """instead of data, a density: mixture_3x3, funnel, many_well, two_moons_ring, or
    FILE.py:function, log p(x) of TensorFlow tensors [B, D] -> [B]"""
    size: int | None = None
    """dimensions D of the target; null: its own"""
    method: str = ""
    """of training on a target: annealed or reverse_kl (doc/densities.md); empty: what suits it"""
    scale: float = 0.0
    """sd of the Gaussian that training on a target starts from; 0: the target's own, or 3"""
    network: VectorNetwork = VectorNetwork()
    fit: fm.FitSettings = fm.FitSettings()
    run: fm.RunSettings = fm.RunSettings()


PRESETS = {
    "smoke": {"steps": 400, "depth": 3, "hidden": (32, 32), "test_points": 20_000},
    "default": {"steps": 12_000},
    "full": {"steps": 40_000, "batch_size": 1024, "hidden": (128, 128)},
}


def partitions(config: Config, problem) -> dict[str, fm.Partition]:
    from flow_models.applications import mapping

    size, noise = mapping.sizes(config, problem, PRESETS)
    return {"density": fm.Partition(inputs={"x": size, "eps": noise}, outputs={"z": size + noise})}


def load_data(config: Config):
    """Rows or a simulator for training, and rows held out; or a density."""
    from flow_models.applications import mapping, targets

    if config.target:
        return targets.load(config.target, config.size, config.scale, config.method)
    return mapping.of_config(config)


def build_model(config: Config, problem, partition: fm.Partition) -> fm.Model:
    from flow_models.applications import few_rows, targets

    if config.target:
        return targets.build_model(config, problem, partition, PRESETS)
    plain = fm.Columns(tuple(problem.columns))
    columns = problem.codec or plain.bounded(config.lower, config.upper)
    sizes = few_rows.network(config, problem, PRESETS)
    options = config.network.options(seed=config.fit.seed, **sizes)
    bijector = fm.architectures.mixed(options.pop("architecture"), columns.cdfs, **options)
    if config.missing == "model":
        bijector = fm.architectures.with_missing(bijector, len(columns.names))
    model = fm.Model(bijector, partition, {"x": columns}, jit=config.fit.jit)
    model.layer.check(columns.prepare(problem.test))
    return model


def training(config: Config, problem, model):
    """Maximum likelihood; the length of the training follows the number of rows."""
    from flow_models.applications import mapping, targets

    if config.target:
        return targets.training(config, problem, model, PRESETS)
    return mapping.training(config, problem, PRESETS)


def evaluate(run) -> fm.Results:
    """Held-out likelihood beside baselines, the gap to the truth, latents, the strangest rows."""
    from flow_models.applications import mapping, strange, targets

    if run.config.target:
        return targets.evaluate(run)
    metrics = {"nll_val": mapping.nll_of_validation(run), **mapping.metrics(run.model, run.problem)}
    frame, gained = strange.strangest(run.model, run.problem)
    run.folder.write_text("strangest.csv", frame.to_csv(index=False))
    tables = [mapping.comparison(metrics), *mapping.table_of_columns(run.problem)]
    tables += [strange.report_table(frame, gained, run.problem.columns)]
    figures = mapping.figures(run.model, run.problem, run.history)
    words = f"{run.problem.source.rstrip('.')}. {mapping.training_in_words(run.result)}"
    return fm.Results(metrics, tables, figures, words)


APPLICATION = fm.Application(
    Config, PRESETS, partitions, load_data, build_model, evaluate, training
)

if __name__ == "__main__":
    fm.run(APPLICATION)
