"""A fifth and more of the cells missing completely at random: how near is the density to the truth?

    python benchmarks/missing.py          # a few minutes on two cores

Three ways: the density of what is observed (`architectures.with_missing`), rows without gaps alone,
and gaps filled by the mean. Prints Markdown rows for doc/tables.md: KL to the true density of
complete rows, of observed parts log p(x_obs) against the exact marginal, and how far the covariance
of samples is from the truth, in units of the standard deviations.
"""

import numpy as np
from scipy.stats import multivariate_normal

import flow_models as fm
from flow_models.data import points

SHARE, ROWS, SIZE = 0.25, 10_000, 5
COVARIANCE = 0.8 ** np.abs(np.subtract.outer(np.arange(SIZE), np.arange(SIZE)))
SETTINGS = fm.FitSettings(steps=3000, batch_size=512)


def hidden(x, seed):
    """Rows with a share of their cells missing."""
    return np.where(np.random.default_rng(seed).random(x.shape) < SHARE, np.nan, x)


def trained(x, way):
    """A model of rows with gaps."""
    size = x.shape[1]
    flow = fm.spline_coupling(size, depth=4, hidden=(64, 64), affine=True)
    if way == "model":
        flow = fm.architectures.with_missing(flow, size)
    elif way == "drop":
        x = x[~np.isnan(x).any(1)]
    else:
        x = np.where(np.isnan(x), np.nanmean(x, 0), x)
    model = fm.Model(flow)
    cut = len(x) // 10
    result = fm.fit(model, x[cut:], x[:cut], SETTINGS, progress=False)
    return model, result.steps_per_second


def of_gaussian(x):
    """log p of the observed part of each row."""
    found = np.zeros(len(x))
    for i, row in enumerate(x):
        k = np.flatnonzero(~np.isnan(row))
        if len(k):
            found[i] = multivariate_normal.logpdf(row[k], None, COVARIANCE[np.ix_(k, k)])
    return found


def of_moons(x):
    """log p of the observed part of each row of two columns, by quadrature."""
    grid, found = np.linspace(-4, 5, 1501), np.zeros(len(x))
    moons, step = points.get("moons"), grid[1] - grid[0]
    for i, row in enumerate(x):
        gap = np.isnan(row)
        if not gap.any():
            found[i] = moons.log_prob(row[None])[0]
        elif not gap.all():
            line = np.repeat(row[None], len(grid), 0)
            line[:, gap] = grid[:, None]
            found[i] = np.log(np.exp(moons.log_prob(line)).sum() * step)
    return found


def row(name, way, x, complete, log_prob, covariance):
    """One line of the table."""
    model, speed = trained(hidden(x, 1), way)
    kl = (log_prob(complete) - model.log_prob(complete)).mean()
    off = np.cov(model.sample(50_000, seed=1).T) - covariance
    off /= np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    observed = "-"
    if way == "model":
        partial = hidden(complete[:1500], 2)
        gap = log_prob(partial) - model.log_prob(partial)
        observed = f"{gap.mean():.3f} +- {gap.std() / len(gap) ** 0.5:.3f}"
    worst = np.abs(off).max()
    print(f"| {name} | {way} | {kl:.3f} | {observed} | {worst:.3f} | {speed:.0f} |", flush=True)


def main() -> None:
    print("| data | missing cells | kl_to_truth | of observed parts | covariance | steps/s |")
    print("|---|---|---|---|---|---|")
    rng, moons = np.random.default_rng(0), points.get("moons")
    normal = [rng.multivariate_normal(np.zeros(SIZE), COVARIANCE, n) for n in (ROWS, 5000)]
    plane = [moons.draw(n, (s, 0)).numpy() for n, s in ((ROWS, 0), (5000, 1))]
    spread = np.cov(moons.draw(400_000, (2, 0)).numpy().T)
    for way in ("model", "drop", "mean"):
        row("Gaussian, 5 columns", way, *normal, of_gaussian, COVARIANCE)
    for way in ("model", "drop", "mean"):
        row("moons", way, *plane, of_moons, spread)


if __name__ == "__main__":
    main()
