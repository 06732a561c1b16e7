"""All checks of a posterior at once: their numbers, and what is wrong in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from flow_models.diagnostics import calibration, projections
from flow_models.diagnostics.calibration import p_text
from flow_models.diagnostics.posterior import contraction_and_z

SUFFIX = (  # a number of such a name is a test, and a small one raises a warning
    "_p_value"
)


def posterior_metrics(
    truths: np.ndarray,
    samples: np.ndarray,
    log_prob_truths: np.ndarray | None = None,
    log_prob_samples: np.ndarray | None = None,
    observations: np.ndarray | None = None,
    prior_sd: np.ndarray | float | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Numbers of truths [B, P] and posterior samples [B, S, P]; B is at least 20, better 300 or
    more.

        coverage_50, coverage_90        central intervals, mean over parameters; _se: standard error
        sbc_p_value, sbc_ecdf_p_value   ranks of parameters: chi-square, distribution function
        sbc_max_deviation               largest distance of such a function from the diagonal
        z_score_mean                  mean of (truth - middle of the posterior), in its sd
        z_score_sd                sd of the same; both of the worst parameter
                                        (_parameter: its name), with _p_value over all
        projection_p_value              ranks along random and worst directions: dependence
        tarp_p_value, tarp_deviation    distance from random points, all parameters together
        density_p_value                 with log q of truths [B] and samples [B, S]: its ranks
        hdr_coverage_50, _90            with log q: regions of highest density
        data_p_value                    with observations [B, ...]: do they predict the ranks?
        contraction                     with prior_sd: mean of 1 - posterior / prior variance
    """
    n_samples = np.shape(samples)[1]
    ranks = calibration.sbc_ranks(truths, samples, seed)
    pits, ranked = calibration.pit(ranks, n_samples, seed), calibration.sbc_test(ranks, n_samples)
    found = (
        _covered("coverage", calibration.rank_coverage(ranks, n_samples, seed=seed))
        | {
            "sbc_p_value": ranked.p_value,
            "sbc_ecdf_p_value": ranked.ecdf_p_value,
            "sbc_max_deviation": ranked.max_deviation,
        }
        | _bias_and_spread(pits)
    )
    if np.shape(truths)[1] > 1:
        along = projections.projection_ranks(truths, samples, seed)
        found["projection_p_value"] = calibration.sbc_test(along, n_samples).ecdf_p_value
    curve = calibration.tarp(truths, samples, seed)
    found |= {"tarp_p_value": curve.p_value, "tarp_deviation": curve.deviation}
    if log_prob_truths is not None and log_prob_samples is not None:
        found |= _density(np.asarray(log_prob_truths), np.asarray(log_prob_samples), seed)
    if observations is not None:
        found["data_p_value"] = calibration.bonferroni(
            projections.data_dependence(pits, observations)
        )
    if prior_sd is not None:
        found["contraction"] = float(contraction_and_z(truths, samples, prior_sd)[0].mean())
    return found


def _covered(name, found):
    numbers = {}
    for level, mean, error in zip(found.levels, found.mean, found.error):
        numbers |= {
            f"{name}_{100 * level:.0f}": float(mean),
            f"{name}_{100 * level:.0f}_se": float(error),
        }
    return numbers


def _bias_and_spread(pits):
    """Mean and standard deviation of the normal scores of pits [B, P]; N(0, 1) if the posterior is
    right."""
    from scipy import stats

    scores, size = stats.norm.ppf(pits), len(pits)
    means, spreads = scores.mean(0), scores.std(0, ddof=1)
    of_means = 2.0 * stats.norm.sf(np.abs(means) * np.sqrt(size))
    squares = stats.chi2(size - 1)
    of_spreads = 2.0 * np.minimum(squares.sf(x := (size - 1) * np.square(spreads)), squares.cdf(x))
    found = {}
    for name, values, p_values, right in (
        ("mean", means, of_means, 0.0),
        ("sd", spreads, of_spreads, 1.0),
    ):
        worst = int(np.lexsort((-np.abs(values - right), p_values))[0])
        found |= {
            f"z_score_{name}": float(values[worst]),
            f"z_score_{name}_parameter": float(worst),
            f"z_score_{name}_p_value": calibration.bonferroni(p_values),
        }
    return found


def _density(truths, samples, seed):
    ranks = calibration.sbc_ranks(truths[:, None], samples[..., None], seed)
    covered = calibration.hdr_coverage(truths, samples, seed=seed)
    return _covered("hdr_coverage", covered) | {
        "density_p_value": calibration.sbc_test(ranks, samples.shape[1]).ecdf_p_value
    }


def warnings(
    metrics: Mapping[str, float], rate: float = 0.01, names: Sequence[str] | None = None
) -> list[str]:
    """One line for each thing that the numbers of `posterior_metrics` show to be wrong.

    A right posterior gets a warning with probability at most `rate`: each p-value is held against
    rate over the number of tests. names: of the parameters.
    """
    tests = {
        name: value
        for name, value in metrics.items()
        if name.endswith(SUFFIX) and not name.startswith("observed_")  # of the data, not the model
    }
    low = {name.removesuffix(SUFFIX): p for name, p in tests.items() if p < rate / len(tests)}
    lines = [line for check in (_spread_line, _bias_line) for line in check(metrics, low, names)]
    if not lines and low.keys() & {"sbc", "sbc_ecdf"}:
        p = min(low[name] for name in ("sbc", "sbc_ecdf") if name in low)
        lines.append(
            "posterior of another shape: ranks of single parameters are not uniform, their"
            f" distribution is off by {metrics['sbc_max_deviation']:.3f} ({p_text(p)})"
        )
    joint = {"projection": "projections", "tarp": "TARP", "density": "log-density"}
    seen = [f"{word} {p_text(low[name])}" for name, word in joint.items() if name in low]
    if seen:
        what = (
            "posterior of all parameters together is off too"
            if lines
            else "dependence between parameters is wrong though each alone passes"
        )
        lines.append(f"{what}: {', '.join(seen)}")
    if "data" in low:
        lines.append(
            "posterior does not use all that the data say: they tell where the truth lies in it "
            f"({p_text(low['data'])})"
        )
    return lines


def _name(metrics, check, names):
    number = int(metrics[f"z_score_{check}_parameter"])
    return f"parameter {number}" if names is None else str(names[number])


def _spread_line(metrics, low, names):
    if "z_score_sd" not in low:
        return []
    ratio = metrics["z_score_sd"]
    return [
        f"posterior too {'narrow' if ratio > 1 else 'wide'}: truths scatter {ratio:.2f} times as"
        f" far as it says ({_name(metrics, 'sd', names)}, {p_text(low['z_score_sd'])});"
        f" 90% intervals hold {metrics['coverage_90']:.1%} of all parameters"
    ]


def _bias_line(metrics, low, names):
    if "z_score_mean" not in low:
        return []
    bias = metrics["z_score_mean"]
    side = "low" if bias > 0 else "high"
    return [
        f"posterior biased: on average {abs(bias):.2f} of its standard deviations too {side} "
        f"({_name(metrics, 'mean', names)}, {p_text(low['z_score_mean'])})"
    ]
