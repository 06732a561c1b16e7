"""What goes around a whole flow: a Gaussian a class, a frame, missing cells."""

from flow_models.bijectors.class_gaussian import ClassGaussian
from flow_models.bijectors.face import FlowBijector
from flow_models.bijectors.frames import Frame, Framed
from flow_models.bijectors.missing import Proposal, WithMissing
from flow_models.bijectors.mixed import Mixed
from flow_models.bijectors.number_cdf import NumberCDF
from flow_models.models.notes import bounds_of


def class_mixture(
    flow: FlowBijector, size: int, classes: int, covariance: str = "full"
) -> FlowBijector:
    """A flow followed by a learned Gaussian a class (FlowGMM, Izmailov et al. 2020).

    The class is given, [B, M], and seen by the last layer alone.

    Args:
      flow: of rows without a condition, not trained yet.
      size: dimensions D of a row.
      classes: M.
      covariance: full, or diagonal for many dimensions.

    Raises:
      UserError: another covariance.
    """
    return _around(flow, ClassGaussian(flow.layer, size, classes, covariance))


def framed(flow: FlowBijector, frame: Frame) -> FlowBijector:
    """A conditional flow behind a frame, which makes its condition of the data that are given.

    Args:
      flow: of whitened parameters [B, P], its condition as wide as the frame makes it.
      frame: a `PriorFrame`, a `LaplaceFrame` or another `Frame`.
    """
    return _around(flow, Framed(frame, flow.layer))


def with_missing(flow: FlowBijector, size: int, depth: int = 4, hidden=(64, 64)) -> FlowBijector:
    """A flow of rows with missing cells, NaN: `fit` learns it from what is observed, `log_prob` is
    of what is observed, and `impute` draws the rest (see `models.missing`).

    Args:
      flow: of complete rows [size], not trained yet, without a condition.
      depth, hidden: couplings of the flow that proposes missing cells, and their widths.

    Example:
      >>> model = fm.Model(fm.architectures.with_missing(fm.spline_coupling(3), 3))
      >>> fm.fit(model, x)  # NaN where a cell is missing
    """
    columns = flow.layer.columns if isinstance(flow.layer, Mixed) else (None,) * size
    columns = [None if isinstance(cdf, NumberCDF) else cdf for cdf in columns]
    lower, upper = zip(*(bounds_of(flow.layer) or [(None, None)] * size))
    proposal = Proposal(tuple(columns), lower, upper, depth, tuple(hidden))
    return _around(flow, WithMissing(flow.layer, proposal))


def _around(flow, layer):
    return FlowBijector(layer, flow.parameters["seed"], flow.dtype, flow.event_ndims)
