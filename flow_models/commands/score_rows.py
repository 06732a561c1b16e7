"""Scores of the rows of a table, chunk by chunk: -log p in nats, and why a row has none."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np

from flow_models.core.errors import FlowModelsWarning, UserError, warn
from flow_models.core.share import WHOLE, Share
from flow_models.models import table_rows

NAMES = ("name", "nll", "error")


def scored(model, uri: str, keep: Sequence[str] = (), share: Share = WHOLE) -> Iterator[dict]:
    """Names (row numbers of the file), kept columns, `nll` and `error`, in parts that need little
    memory; see `table_rows.read`.

    A row with a cell that is missing, infinite or no number has nll NaN, and one where the density
    is 0 has inf; `error` says which and why. Models of missing cells score what is observed of a
    row. Of models of parameters given data, the rows are data, and -log p is of their context, or,
    of posteriors from pairs, of a Gaussian with mean and covariance of the simulated data.

    Raises:
      UserError: no such columns, or a posterior that knows nothing of the data.
    """
    from tqdm import tqdm

    knows = model.data_model or getattr(model.codecs.get("y"), "kept_rows", None) is not None
    if model.is_posterior and not knows:
        raise UserError(
            "this model is of parameters given data and neither has a density of the data nor keeps"
            " rows of them to score by: draw parameters with sample MODEL --observed FILE"
        )
    rows, bad, gaps, first = 0, 0, 0, ""
    with tqdm(desc="scoring", unit=" rows", disable=None, delay=2) as bar:
        for part in table_rows.read(model, uri, keep, share):
            nll, errors = _of_part(model, part)
            wrong = [place for place, error in enumerate(errors) if error]
            if wrong and not first:
                first = f"row {part.names[wrong[0]]}: {errors[wrong[0]]}"
            rows, bad = rows + len(errors), bad + len(wrong)
            gaps += _with_gaps(model, part)
            bar.update(len(errors))
            kept = {table_rows.free_name(name, NAMES): cells for name, cells in part.kept.items()}
            yield {"name": part.names, **kept, "nll": nll, "error": errors}
    if bad:
        warn(f"{uri}: {bad:,} of {rows:,} rows have no finite score; the first: {first}")
    if 0 < gaps < rows:
        warn(
            f"{uri}: {gaps:,} of {rows:,} rows have gaps; their nll counts fewer columns: compare"
            " it among rows with the same gaps"
        )


def _with_gaps(model, part: table_rows.Part) -> int:
    """How many rows have cells that are missing and that the model knows to miss."""
    from flow_models.models.missing import is_modelled

    if not is_modelled(model):
        return 0
    return int(model.codec.missing(part.values[part.good]).sum())


def _of_part(model, part: table_rows.Part) -> tuple[np.ndarray, list[str]]:
    """-log p of each row, and what is wrong with it."""
    from flow_models.models import notes

    good, errors = part.good, list(part.errors)
    nll = np.full(len(good), np.nan)
    if good.any():
        values = part.values[good]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FlowModelsWarning)  # said by the rows of the file
            nll[good] = model.anomaly_score(values)
        reasons = notes.of_rows(model, values, -nll[good])
        if model.is_posterior:
            reasons = np.where(np.isfinite(nll[good]), "", notes.FAR)
        for row, reason in zip(np.flatnonzero(good), reasons):
            errors[row] = reason
    return nll, errors
