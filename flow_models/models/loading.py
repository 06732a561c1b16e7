"""Models from the folders they were saved to."""

import os

import tensorflow as tf

from flow_models.bijectors.face import FlowBijector
from flow_models.core import archive
from flow_models.core.errors import UserError
from flow_models.core.serializable import from_config
from flow_models.core.storage import exists
from flow_models.models import saving
from flow_models.models.ensemble import Ensemble
from flow_models.models.model import Model


def load(folder: str, jit: bool = True) -> Model:
    """The model saved in `folder`, or in `folder`/model where `folder` is that of a run.

    Modules that the model names, those of one's own layers, codecs and simulators, are imported:
    load models that you trust.

    Args:
      folder: a path or s3://.

    Raises:
      UserError: no model there, a damaged one, or one of another format.
    """
    folder = str(folder).rstrip("/")
    inner = f"{folder}/model"
    if not os.path.exists(f"{folder}/model.json") and exists(f"{inner}/model.json"):
        folder = inner
    header = archive.read_header(folder, "model", "model")
    _check_format(folder, header.get("format"))
    arrays = archive.read_arrays(folder, header, "model")
    try:
        model = build(header, arrays, jit)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder}/model.json is damaged: {error!r}") from None
    if not saving.take(model, arrays):
        raise UserError(f"{folder} is damaged: its weights do not fit its description")
    return model


def build(header: dict, arrays: dict, jit: bool = True) -> Model:
    """The model that `saving.header` described, with weights not yet taken."""
    layer, partition = from_config(header["layer"]), from_config(header["partition"])
    event_ndims, dtype = header["event_ndims"], tf.as_dtype(header["dtype"])
    bijectors = [
        FlowBijector(layer, dtype=dtype, event_ndims=event_ndims)
        for _ in range(header.get("members", 1))
    ]
    codecs = {name: from_config(codec) for name, codec in header["codecs"].items()}
    of_codecs = saving.below(arrays, "codec")
    codecs = {
        name: codec.with_arrays(saving.below(of_codecs, name)) for name, codec in codecs.items()
    }
    described = header["data_model"]
    data_model = described and build(described, saving.below(arrays, "data_model"), jit)
    options: dict = {"data_model": data_model, "jit": jit}
    if len(bijectors) > 1:
        model: Model = Ensemble(bijectors, partition, codecs, **options)
    else:
        model = Model(bijectors[0], partition, codecs, **options)
    model.started = header["started"]
    return model


def _check_format(folder: str, found) -> None:
    if found == saving.FORMAT:
        return
    if isinstance(found, int) and found < saving.FORMAT:
        raise UserError(
            f"{folder} is of format {found}, which this version does not read: train the model"
            " anew, or load it with the version that saved it"
        )
    raise UserError(
        f"{folder} is of format {found}, this version reads {saving.FORMAT}: install a newer"
        " flow_models"
    )
