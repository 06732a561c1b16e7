"""A model in a few lines: its partition, its blocks with names and bounds, its layers, weights."""

from collections.abc import Iterator

import numpy as np

from flow_models.bijectors.chain import Chain
from flow_models.bijectors.layer import Layer
from flow_models.models.notes import bounds_of_model

WIDTH, NAMES = 100, 12  # columns of a line, names of a block


def text(model) -> str:
    """What `repr` of a model says, at most 15 lines of 100 columns."""
    count = sum(int(np.prod(each.shape)) for each in model.bijector.trainable_variables)
    state = "trained" if model.started else "not trained"
    lines = [f"Model, {state}, {count:,} weights, {model.dtype.name}"]
    for side in ("inputs", "outputs", "given"):
        for name, width in getattr(model.partition, side).items():
            lines.append(f"  {side:8} {_block(model, name, width)}")
    lines.append(f"  layers   {', '.join(_layers(model.layer))}")
    if model.data_model is not None:
        lines.append("  with a density of the data y")
    return "\n".join(line if len(line) <= WIDTH else f"{line[: WIDTH - 4]} ..." for line in lines)


def _block(model, name: str, width: int) -> str:
    """A block: what it is, its names, and the bounds of x."""
    codec = model.codecs.get(name)
    if codec is None:
        return f"{name} [{width}] latents"
    names = list(getattr(codec, "classes", ()) or codec.columns)
    bounds = (bounds_of_model(model) if name == "x" else None) or []
    if len(bounds) == len(names):
        names = [f"{each}{_range(*pair)}" for each, pair in zip(names, bounds)]
    more = f", ... {len(names) - NAMES} more" if len(names) > NAMES else ""
    kind, shape = type(codec).__name__, list(codec.shape)
    return f"{name} {shape} {kind}" + (f": {', '.join(names[:NAMES])}{more}" if names else "")


def _range(low, high) -> str:
    if low is None and high is None:
        return ""
    low, high = -np.inf if low is None else low, np.inf if high is None else high
    return f" in ({low:.6g}, {high:.6g})"


def _layers(layer: Layer) -> Iterator[str]:
    """Names of the layers, those that follow one another counted."""
    layers = layer.layers if isinstance(layer, Chain) else [layer]
    names = [type(each).__name__ for each in layers]
    while names:
        count = next((i for i, name in enumerate(names) if name != names[0]), len(names))
        yield f"{count} x {names[0]}" if count > 1 else names[0]
        names = names[count:]
