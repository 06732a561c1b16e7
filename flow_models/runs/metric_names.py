"""Names and units that a reader knows for the metrics of metrics.json.

A metric that is not listed needs no entry: the report shows its own name with spaces.
"""

from collections.abc import Iterable

# The report's headline follows this order.
METRICS = {
    "kl_to_truth": ("Divergence from the truth", "nats"),
    "bits_per_dim": ("Bits per dimension", "bits"),
    "accuracy": ("Accuracy", "%"),
    "ece": ("Expected calibration error", "%"),
    "auroc": ("AUROC", ""),
    "aupr": ("Average precision", ""),
    "fpr95": ("FPR at 95% TPR", ""),
    "resimulation_mse": ("Re-simulation, mean squared error", ""),
    "normalised_rms_misfit": ("Simulated again, rms in noise", "sigma"),
    "posterior_mmd": ("Posterior MMD", ""),
    "c2st": ("Classifier two-sample test", ""),
    "nats_above_laplace": ("Validation loss above the Laplace entropy", "nats"),
    "kl_to_posterior": ("KL(flow || exact posterior)", "nats"),
    "ess_fraction": ("Effective share of importance weights", "%"),
    "sbc_max_deviation": ("Worst rank deviation (SBC)", ""),
    "hdr_coverage": ("Coverage of highest densities", "%"),
    "tarp_deviation": ("Worst deviation of TARP", ""),
    "observed_p_value": ("p among simulated data", ""),
    "observed_misfit": ("rms misfit of samples", "sigma"),
    "observed_strange_rows": ("Rows unlike simulated data", ""),
    "observed_rows": ("Rows", ""),
    "coverage": ("Coverage", "%"),
    "nll_test": ("Negative log-likelihood, test", "nats"),
    "nll_class": ("-log p(class | x)", "nats"),
    "nll_val": ("Negative log-likelihood, validation", "nats"),
    "train_seconds": ("Training time", "s"),
    "compile_seconds": ("Compile time", "s"),
    "steps_per_second": ("Training speed", "steps/s"),
    "peak_memory_mb": ("Peak memory", "MB"),
    "latent_ks_p": ("Latents normal, smallest p", ""),
    "latent_radius_p": ("Latent radius, p", ""),
    "latent_mean_worst": ("Largest latent mean", ""),
    "latent_sd_worst": ("Largest latent sd error", ""),
    "latent_correlation_worst": ("Largest latent correlation", ""),
}
STANDARD_ERRORS = ("_standard_error", "_se")  # endings of a metric's standard error
INTERVALS = ("_low", "_high")  # endings of the bounds of a metric's interval


def metric_name(name: str) -> tuple[str, str]:
    """The label and unit of a metric: auroc_nll_digits -> ("AUROC, nll digits", "")."""
    stem = next((known for known in METRICS if _belongs(name, known)), None)
    if stem is None:
        return name.replace("_", " "), ""
    label, unit = METRICS[stem]
    rest = name.removeprefix(stem)
    words = rest.replace("_", " ").strip()
    if not rest:
        return label, unit
    if stem == "coverage":
        return f"Coverage of the {words}% region", unit
    return f"{label}, {'standard error' if rest in STANDARD_ERRORS else words}", unit


def in_reading_order(names: Iterable[str]) -> list[str]:
    """The names that METRICS knows, in its order, then all others as they come."""
    names = list(names)
    known = [name for stem in METRICS for name in names if _belongs(name, stem)]
    return list(dict.fromkeys(known + names))


def _belongs(name: str, stem: str) -> bool:
    return name == stem or name.startswith(f"{stem}_")
