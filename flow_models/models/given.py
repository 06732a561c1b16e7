"""A conditional model at one y, as a model without y."""

import numpy as np

from flow_models.bijectors.face import FlowBijector
from flow_models.bijectors.frames import Framed
from flow_models.bijectors.given import Given
from flow_models.bijectors.layer import leaves
from flow_models.core.errors import UserError
from flow_models.models.model import Model
from flow_models.models.partition import Partition


def given(model: Model, y) -> Model:
    """A model of p(x | y) for one y [M], with weights of its own that start at the model's.

    It samples and scores without y, can be trained further on the density of this one posterior
    (`fit_density`), and is saved as any model.

    Raises:
      UserError: y is not one row, or is among the outputs of the network.
    """
    blocks, lead = model.observed(y)
    if lead != () or "y" in model.partition.outputs:
        raise UserError("given(model, y) needs a model with y given, and one y [M]")
    rows = model.given_rows(blocks)
    assert rows is not None
    framed = isinstance(model.layer, Framed)
    kept = model.passes.state(rows) if framed else {"condition": rows}
    shapes = {name: tuple(value.shape) for name, value in kept.items()}
    flow = FlowBijector(Given(model.layer, shapes), dtype=model.dtype)
    started = {f"layer/{name}": value for name, value in leaves(model.weights).items()}
    started |= {f"kept/{name}": np.asarray(value) for name, value in kept.items()}
    for name, variable in leaves(flow.weights).items():
        variable.assign(started[name])
    inputs, outputs = model.partition.inputs, model.partition.outputs
    alone = Model(flow, Partition(inputs, outputs), {"x": model.codec}, jit=model.jit)
    alone.started = True
    return alone
