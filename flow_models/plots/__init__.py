"""One function per figure. Each returns a matplotlib `Figure` and neither shows nor saves it: use
`figure.savefig(path)`."""

from flow_models.plots.anomalies import anomalies
from flow_models.plots.arms import arms
from flow_models.plots.beside import beside
from flow_models.plots.calibration import (
    contraction,
    coverage_curve,
    rank_differences,
    rank_histograms,
)
from flow_models.plots.classes import (
    class_probabilities,
    class_samples,
    curve,
    decision_regions,
    scores_of_unknown,
    transfer,
)
from flow_models.plots.density import density
from flow_models.plots.detection import latent_map, roc_curves, score_histograms
from flow_models.plots.evidence import evidence
from flow_models.plots.images import image_grid, image_rows, neighbours
from flow_models.plots.latents import latents, mapping
from flow_models.plots.maps import anomaly_maps
from flow_models.plots.margins import margins
from flow_models.plots.posterior import corner, predicted_data, profile_bands
from flow_models.plots.sides import sides
from flow_models.plots.style import plain
from flow_models.plots.sweep import trials
from flow_models.plots.training import training_curves

__all__ = [
    "anomalies",
    "anomaly_maps",
    "arms",
    "beside",
    "class_probabilities",
    "class_samples",
    "contraction",
    "corner",
    "coverage_curve",
    "curve",
    "decision_regions",
    "density",
    "evidence",
    "image_grid",
    "image_rows",
    "latent_map",
    "latents",
    "mapping",
    "margins",
    "neighbours",
    "plain",
    "predicted_data",
    "profile_bands",
    "rank_differences",
    "rank_histograms",
    "roc_curves",
    "score_histograms",
    "scores_of_unknown",
    "sides",
    "training_curves",
    "transfer",
    "trials",
]
