"""Models of posteriors that are not trained yet."""

import flow_models as fm
from flow_models.training.batches import as_batch
from flow_models.training.prepared import start


def new(frame, flow) -> fm.Model:
    """p(x | y) behind a frame; `flow` makes its flow from the number of parameters and the width of
    the context."""
    simulator = frame.simulator
    size, width = simulator.size, simulator.data_size
    return fm.Model(
        fm.architectures.framed(flow(size, frame.context_size), frame),
        fm.Partition({"x": size}, {"z": size}, given={"y": width}),
        {"x": fm.Parameters(simulator), "y": fm.Data(simulator)},
    )


def measured(frame, theta, y, flow) -> fm.Model:
    """The same, the frame measured on pairs theta [N, P], y [N, M]."""
    model = new(frame, flow)
    start(model, as_batch({"x": theta, "y": y}, model))
    return model
