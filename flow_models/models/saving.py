"""A model as a description and named arrays, which are written to a folder."""

import dataclasses

import numpy as np

from flow_models.core import archive
from flow_models.core.serializable import to_config

FORMAT = 3  # of the saved folder; raised when an older version could not read it


def save(model, folder: str) -> None:
    """Writes model.json and the arrays into `folder` (a path or s3://)."""
    archive.write(folder, "model", arrays(model), header(model))


def header(model) -> dict:
    """What the model is, without its arrays, for JSON."""
    return {
        "format": FORMAT,
        "layer": to_config(model.layer),
        "partition": to_config(model.partition),
        "codecs": {name: to_config(_bare(codec)) for name, codec in model.codecs.items()},
        "event_ndims": list(model.bijector.event_ndims),
        "dtype": model.dtype.name,
        "started": model.started,
        "members": len(model.members),
        "data_model": model.data_model and header(model.data_model),
    }


def arrays(model) -> dict[str, np.ndarray]:
    """Weights as "flow/<path>", arrays of codecs as "codec/<block>/<name>", of the density of the
    data as "data_model/..."."""
    found = {f"flow/{name}": each.numpy() for name, each in weights_of(model).items()}
    for block, codec in model.codecs.items():
        found |= {f"codec/{block}/{name}": each for name, each in codec.arrays().items()}
    if model.data_model:
        found |= {f"data_model/{name}": each for name, each in arrays(model.data_model).items()}
    return found


def weights_of(model) -> dict:
    """Variables by name; those of the further members of an ensemble as "member<k>/<name>"."""
    found = dict(model.bijector.named_weights())
    for k, one in enumerate(model.members[1:], 1):
        found |= {f"member{k}/{name}": v for name, v in one.bijector.named_weights().items()}
    return found


def take(model, arrays: dict[str, np.ndarray]) -> bool:
    """Takes over arrays by name; False where they do not fit."""
    flow, codecs, data_model = (below(arrays, part) for part in ("flow", "codec", "data_model"))
    variables = weights_of(model)
    fits = len(flow) + len(codecs) + len(data_model) == len(arrays) and _same(flow, variables)
    if not fits or bool(data_model) != bool(model.data_model):
        return False
    for name, variable in variables.items():
        variable.assign(flow[name])
    for block, codec in model.codecs.items():
        model.codecs[block] = codec.with_arrays(below(codecs, block))
    return not model.data_model or take(model.data_model, data_model)


def _same(flow, variables) -> bool:
    return set(flow) == set(variables) and all(
        flow[name].shape == variable.shape for name, variable in variables.items()
    )


def below(arrays, part):
    """The arrays whose name begins with the part, without it."""
    named = {
        name.partition("/")[2]: each for name, each in arrays.items() if name.startswith(f"{part}/")
    }
    return named


def _bare(codec):
    """The codec without its arrays, which are saved beside the description."""
    return dataclasses.replace(codec, **dict.fromkeys(codec.arrays()))
