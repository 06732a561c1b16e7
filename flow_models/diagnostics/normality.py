"""Are held-out latents N(0, I), and how far is the learned density from the true one?"""

from __future__ import annotations

import numpy as np

from flow_models.core.errors import UserError

LEAST = 8  # latents that a test needs


def latent_normality(z: np.ndarray) -> dict[str, float]:
    """How far latents z [N, D] are from N(0, I): moments, and tests of the margins and the radius.

        latent_mean_worst         max_d |mean z_d|: about sqrt(2 log(2 D) / N) if right
        latent_sd_worst           max_d |sd z_d - 1|: about sqrt(log(2 D) / N) if right
        latent_correlation_worst  max_(d != e) |corr(z_d, z_e)|; 0 if D = 1
        latent_ks_p               min(1, D min_d p_d), Kolmogorov-Smirnov of z_d against N(0, 1)
        latent_radius_p           the same test of |z|^2 against chi^2 with D degrees of freedom

    Under N(0, I) each p is below a with probability at most a (exactly a for `latent_radius_p`).
    The margins alone miss latents that are each normal but dependent; the correlation and the
    radius detect most of those.

    Raises:
      UserError: z is not [N, D] with N >= 8, or holds values that are not finite.

    Massey, The Kolmogorov-Smirnov test for goodness of fit (1951), Journal of the American
    Statistical Association 46.
    """
    from scipy import stats

    z = _latents(z)
    size, dimensions = z.shape
    distances = _ks_distance(stats.norm.cdf(z))
    radius = _ks_distance(stats.chi2.cdf(np.square(z).sum(axis=1, keepdims=True), dimensions))
    return {
        "latent_mean_worst": float(np.abs(z.mean(axis=0)).max()),
        "latent_sd_worst": float(np.abs(z.std(axis=0, ddof=1) - 1.0).max()),
        "latent_correlation_worst": _worst_correlation(z),
        "latent_ks_p": float(min(1.0, dimensions * stats.kstwo.sf(distances.max(), size))),
        "latent_radius_p": float(stats.kstwo.sf(radius[0], size)),
    }


def kl_to_truth(log_q: np.ndarray, log_p: np.ndarray) -> tuple[float, float]:
    """KL divergence of the model q from the truth p, and its standard error, in nats per event.

        KL(p || q) = E_p[log p(x) - log q(x)],   standard error = sd(log p - log q) / sqrt(N)

    Both arguments are [N], at the same N >= 2 points. These must be fresh draws from p: on training
    points the mean is too low. A point that the model rules out (log q = -inf) makes the divergence
    and its error infinite.

    Raises:
      UserError: the arrays differ in length, N < 2, or log p is not finite at a draw from p.
    """
    log_q, log_p = np.asarray(log_q, np.float64), np.asarray(log_p, np.float64)
    if log_q.ndim != 1 or log_q.shape != log_p.shape or log_q.size < 2:
        raise UserError(
            f"kl_to_truth needs two arrays [N] with N >= 2; got {log_q.shape} and {log_p.shape}."
        )
    if not np.isfinite(log_p).all():
        raise UserError(
            "kl_to_truth needs draws from the truth, but log_p is not finite at some of them."
        )
    gap = log_p - log_q
    if not np.isfinite(gap).all():
        return (float("nan"), float("nan")) if np.isnan(gap).any() else (float("inf"), float("inf"))
    return float(gap.mean()), float(gap.std(ddof=1) / np.sqrt(gap.size))


def _latents(z: np.ndarray) -> np.ndarray:
    """z as float64 [N, D]. Raises UserError if no test can be made of it."""
    z = np.asarray(z, np.float64)
    if z.ndim != 2 or z.shape[0] < LEAST or z.shape[1] < 1:
        raise UserError(
            f"Latents must be an array [N, D] with N >= {LEAST} and D >= 1; got {z.shape}."
        )
    if not np.isfinite(z).all():
        bad = int((~np.isfinite(z)).any(axis=1).sum())
        raise UserError(
            f"{bad} of {len(z)} latent vectors hold NaN or infinity; the model has diverged on"
            " those points."
        )
    return z


def _ks_distance(u: np.ndarray) -> np.ndarray:
    """Largest gap [D] between the empirical distribution of each column of u [N, D] and the uniform
    one.

        D_N = max_i max(i / N - u_(i), u_(i) - (i - 1) / N)
    """
    u = np.sort(u, axis=0)
    steps = np.arange(1, len(u) + 1)[:, None] / len(u)
    return np.maximum(steps - u, u - steps + 1.0 / len(u)).max(axis=0)


def _worst_correlation(z: np.ndarray) -> float:
    """max_(d != e) |corr(z_d, z_e)| of z [N, D]; 0 if D = 1; a constant column correlates with
    nothing."""
    centred = z - z.mean(axis=0)
    norm = np.sqrt(np.square(centred).sum(axis=0))
    unit = centred / np.where(norm > 0.0, norm, 1.0)
    correlation = unit.T @ unit
    np.fill_diagonal(correlation, 0.0)
    return float(np.abs(correlation).max())
