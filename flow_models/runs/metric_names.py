"""Names, units and directions of the metrics of metrics.json, for the report and for sweeps.

A metric that is not listed needs no entry: the report shows its own name with spaces, and lower is
better.
"""

from collections.abc import Iterable
from typing import NamedTuple


class Metric(NamedTuple):
    """What a reader calls a metric, its unit, and its direction."""

    label: str
    unit: str = ""
    higher_is_better: bool = False


# The report's headline follows this order.
METRICS = {
    "kl_to_truth": Metric("Divergence from the truth", "nats"),
    "bits_per_dim": Metric("Bits per dimension", "bits"),
    "accuracy": Metric("Accuracy", "%", higher_is_better=True),
    "ece": Metric("Expected calibration error", "%"),
    "auroc": Metric("AUROC", higher_is_better=True),
    "pixel_auroc": Metric("AUROC of pixels of planted defects", higher_is_better=True),
    "pointing_game": Metric("Planted defects pointed at", higher_is_better=True),
    "aupr": Metric("Average precision", higher_is_better=True),
    "fpr95": Metric("FPR at 95% TPR"),
    "resimulation_mse": Metric("Re-simulation, mean squared error"),
    "normalised_rms_misfit": Metric("Simulated again, rms in noise", "sigma"),
    "posterior_mmd": Metric("Posterior MMD"),
    "c2st": Metric("Classifier two-sample test"),
    "nats_above_laplace": Metric("Validation loss above the Laplace entropy", "nats"),
    "kl_to_posterior": Metric("KL(flow || exact posterior)", "nats"),
    "ess_fraction": Metric("Effective share of importance weights", "%", higher_is_better=True),
    "sbc_max_deviation": Metric("Worst rank deviation (SBC)"),
    "hdr_coverage": Metric("Coverage of highest densities", "%"),
    "tarp_deviation": Metric("Worst deviation of TARP"),
    "observed_p_value": Metric("p among simulated data"),
    "observed_misfit": Metric("rms misfit of samples", "sigma"),
    "observed_strange_rows": Metric("Rows unlike simulated data"),
    "observed_rows": Metric("Rows"),
    "coverage": Metric("Coverage", "%"),
    "samples_kid": Metric("Kernel distance of samples (KID)"),
    "samples_precision": Metric("Precision of samples", higher_is_better=True),
    "samples_recall": Metric("Recall of samples", higher_is_better=True),
    "samples_density": Metric("Density of samples", higher_is_better=True),
    "samples_coverage": Metric("Coverage of samples", higher_is_better=True),
    "samples_memorised": Metric("Samples nearer to training pictures than held-out ones"),
    "samples_c2st": Metric("Classifier two-sample test of samples"),
    "nll_test": Metric("Negative log-likelihood, test", "nats"),
    "nll_class": Metric("-log p(class | x)", "nats"),
    "nll_val": Metric("Negative log-likelihood, validation", "nats"),
    "train_seconds": Metric("Training time", "s"),
    "compile_seconds": Metric("Compile time", "s"),
    "steps_per_second": Metric("Training speed", "steps/s", higher_is_better=True),
    "peak_memory_mb": Metric("Peak memory", "MB"),
    "latent_ks_p": Metric("Latents normal, smallest p", higher_is_better=True),
    "latent_radius_p": Metric("Latent radius, p", higher_is_better=True),
    "latent_mean_worst": Metric("Largest latent mean"),
    "latent_sd_worst": Metric("Largest latent sd error"),
    "latent_correlation_worst": Metric("Largest latent correlation"),
    "simulations_per_second": Metric("Simulations per second", higher_is_better=True),
}
STANDARD_ERRORS = ("_standard_error", "_se")  # endings of a metric's standard error
INTERVALS = ("_low", "_high")  # endings of the bounds of a metric's interval


def metric_name(name: str) -> tuple[str, str]:
    """The label and unit of a metric: auroc_nll_digits -> ("AUROC, nll digits", "")."""
    stem = _stem(name)
    if stem is None:
        return name.replace("_", " "), ""
    label, unit, _ = METRICS[stem]
    rest = name.removeprefix(stem)
    words = rest.replace("_", " ").strip()
    if not rest:
        return label, unit
    if stem == "coverage":
        return f"Coverage of the {words}% region", unit
    return f"{label}, {'standard error' if rest in STANDARD_ERRORS else words}", unit


def is_higher_better(name: str) -> bool:
    """The direction of a metric, by its name; in doubt, lower is better."""
    stem = _stem(name)
    return stem is not None and METRICS[stem].higher_is_better


def in_reading_order(names: Iterable[str]) -> list[str]:
    """The names that METRICS knows, in its order, then all others as they come."""
    names = list(names)
    known = [name for stem in METRICS for name in names if _belongs(name, stem)]
    return list(dict.fromkeys(known + names))


def _stem(name: str) -> str | None:
    return next((known for known in METRICS if _belongs(name, known)), None)


def _belongs(name: str, stem: str) -> bool:
    return name == stem or name.startswith(f"{stem}_")
