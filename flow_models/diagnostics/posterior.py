"""Checks of one posterior: what the data taught, predictive checks, reweighting, and foreign
data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flow_models.core.errors import UserError
from flow_models.diagnostics.calibration import checked


@dataclass(frozen=True)
class Check:
    """Data against predictions from posterior samples; without the leading [B] for one observation.

    Attributes:
      residuals: [B, D], (observed - median prediction) / noise_sd.
      rms: [B, S], root mean square of (observed - predicted) / noise_sd of each sample.
      p_values: [B], share of replicated data that lie farther from their prediction than those
        observed.
    """

    residuals: np.ndarray
    rms: np.ndarray
    p_values: np.ndarray


@dataclass(frozen=True)
class Resampled:
    """Samples redrawn by weight.

    Attributes:
      samples: [n, P].
      effective_size: (sum w)^2 / sum w^2.
      pareto_k: shape of the weights' tail; above 0.7 neither samples nor effective size can be
        trusted.
    """

    samples: np.ndarray
    effective_size: float
    pareto_k: float


def contraction_and_z(
    truths: np.ndarray, samples: np.ndarray, prior_sd: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray]:
    """1 - posterior variance / prior variance, and (posterior mean - truth) / posterior sd, [B, P]
    each.

    Near 1 and within +-3 if the data determine a parameter; contraction near 0 if they say nothing.
    Toward a principled Bayesian workflow in cognitive science (Schad, Betancourt and Vasishth
    2021).
    """
    truths, samples = checked(truths, samples)
    # one observation at a time: all their deviations are as large as all samples
    several = samples.shape[1] > 1
    sd = np.stack([rows.std(0, ddof=1) for rows in samples]) if several else np.zeros_like(truths)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (samples.mean(1) - truths) / sd
    return 1.0 - np.square(sd / prior_sd), z


def predictive_check(
    observed: np.ndarray, predicted: np.ndarray, noise_sd: np.ndarray | float
) -> Check:
    """Data [D] or [B, D] against noise-free predictions [S, D] or [B, S, D], independent noise N(0,
    noise_sd^2).

        p = mean_s P(chi^2_D >= sum_d ((observed - predicted_s) / noise_sd)^2)

    The posterior predictive p-value (Posterior predictive assessment of model fitness via realized
    discrepancies, Gelman, Meng and Stern 1996). It uses the data twice, so p of a right model is
    closer to 1/2 than a uniform draw would be: small values are real. For correlated noise multiply
    both by the inverse root of its covariance and give noise_sd 1.

    Raises:
      UserError: shapes do not match.
    """
    from scipy import stats

    observed, predicted = np.asarray(observed, np.float64), np.asarray(predicted, np.float64)
    if (
        predicted.ndim != observed.ndim + 1
        or predicted.shape[:-2] + predicted.shape[-1:] != observed.shape
    ):
        raise UserError(
            f"data [B, D] and predictions [B, S, D] are needed; got {observed.shape} and"
            f" {predicted.shape}"
        )
    noise = np.broadcast_to(np.asarray(noise_sd, np.float64), observed.shape)
    squares = np.square((observed[..., None, :] - predicted) / noise[..., None, :]).sum(-1)
    size = observed.shape[-1]
    residuals = (observed - np.median(predicted, -2)) / noise
    return Check(residuals, np.sqrt(squares / size), stats.chi2.sf(squares, size).mean(-1))


def importance_resample(
    samples: np.ndarray, log_weights: np.ndarray, n: int, seed: int = 0, smooth: bool = True
) -> Resampled:
    """n of the samples [S, P] drawn by weight, log_weights [S] = log(prior x likelihood) - log q +
    constant.

    Systematic resampling: sample s appears floor or ceil of n w_s times, so few repeat if n is well
    below the effective size. With `smooth` the largest weights are first replaced by
    `pareto_smooth`.

    Raises:
      UserError: shapes do not match, a weight is NaN or +inf, or no weight is above zero.
    """
    samples, log_weights = np.asarray(samples), np.asarray(log_weights, np.float64)
    if (
        log_weights.shape != samples.shape[:1]
        or not np.isfinite(log_weights.max(initial=-np.inf))
        or n < 1
    ):
        raise UserError(
            "samples [S, P] and log-weights [S], none NaN or +inf and one at least finite, are"
            f" needed; got {samples.shape} and {log_weights.shape}"
        )
    smoothed, k = pareto_smooth(log_weights)
    weights = np.exp((smoothed if smooth else log_weights) - log_weights.max())
    weights /= weights.sum()
    rng = np.random.default_rng((seed, 0))
    chosen = np.searchsorted(np.cumsum(weights), (np.arange(n) + rng.random()) / n, side="right")
    chosen = rng.permutation(np.minimum(chosen, np.flatnonzero(weights)[-1]))
    return Resampled(samples[chosen], float(1.0 / np.square(weights).sum()), k)


def pareto_smooth(log_weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Log-weights [S] whose largest are replaced by quantiles of a fitted Pareto law, and its shape
    k.

    For k below 0.5 the weights have a variance; above 0.7 no affordable number of samples helps.
    Pareto smoothed importance sampling (Vehtari, Simpson, Gelman, Yao and Gabry 2024). With too few
    weights for a fit none is changed and k is NaN.
    """
    log_weights = np.asarray(log_weights, np.float64)
    count = int(min(len(log_weights) / 5, 3.0 * np.sqrt(len(log_weights))))
    order = np.argsort(log_weights, kind="stable")
    tail, top = order[-count:] if count else order[:0], log_weights.max()
    cut = np.exp(log_weights[order[-count - 1]] - top) if count < len(order) else 0.0
    excess = np.exp(log_weights[tail] - top) - cut
    if count < 5 or excess[0] <= 0.0 or excess[-1] <= 1e-12:  # too few, or all equal, or some zero
        return log_weights, float("nan")
    k, scale = _pareto_fit(excess)
    below = (np.arange(count) + 0.5) / count
    k_shape = k if abs(k) > 1e-8 else 1e-8
    smoothed = log_weights.copy()
    smoothed[tail] = (
        np.minimum(np.log(cut + scale * np.expm1(-k_shape * np.log1p(-below)) / k_shape), 0.0) + top
    )
    return smoothed, float(k)


def _pareto_fit(x: np.ndarray) -> tuple[float, float]:
    """Shape k and scale of a generalised Pareto law of ordered excesses x [n]; a weak prior keeps k
    near 1/2.

    A new and efficient estimation method for the generalized Pareto distribution (Zhang and
    Stephens 2009): the profile likelihood over b = -k / scale is averaged, not maximised.
    """
    size = len(x)
    points = 30 + int(np.sqrt(size))
    b = 1.0 / x[-1] + (1.0 - np.sqrt(points / (np.arange(points) + 0.5))) / (
        3.0 * x[int(size / 4 + 0.5) - 1]
    )
    k = np.log1p(-b[:, None] * x).mean(1)
    profile = size * (np.log(-b / k) - k - 1.0)
    weights = np.exp(profile - np.logaddexp.reduce(profile))
    b = float(weights @ b)
    k = float(np.log1p(-b * x).mean())
    return (size * k + 10 * 0.5) / (size + 10), -k / b


def misspecification(
    score_observed: np.ndarray | float, scores_simulated: np.ndarray
) -> np.ndarray:
    """p-value [...] of data with scores [...], higher is stranger, among scores [R] of simulated
    data.

        p = (1 + number of simulated scores >= the observed one) / (R + 1)

    A warning at p <= a is false for a fraction a of simulated data, provided that training has not
    seen them. A score is -log p(y) of the model, or the distance of a summary from its mean. NaN
    counts as strangest.

    Raises:
      UserError: no score of simulated data, or one that is NaN.
    """
    scores = np.sort(np.asarray(scores_simulated, np.float64).ravel())
    if not scores.size or np.isnan(scores).any():
        raise UserError("misspecification needs the scores of simulated data, none of them NaN")
    observed = np.nan_to_num(
        np.asarray(score_observed, np.float64), nan=np.inf, posinf=np.inf, neginf=-np.inf
    )
    return (1 + scores.size - np.searchsorted(scores, observed, side="left")) / (scores.size + 1)
