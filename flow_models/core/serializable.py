"""Objects that can be written down: frozen dataclasses to JSON-able dictionaries and back,
exactly."""

import dataclasses

import numpy as np

from flow_models.core.errors import UserError

_CLASSES: dict[str, type] = {}


@dataclasses.dataclass(frozen=True)
class Described:
    """A frozen dataclass whose fields are numbers, strings, tuples, dictionaries or other
    `Described` objects."""

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        assert _CLASSES.get(cls.__name__, cls).__module__ == cls.__module__, (
            f"two classes are called {cls.__name__}"
        )
        _CLASSES[cls.__name__] = cls

    def __post_init__(self):
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _freeze(getattr(self, field.name)))


def _freeze(value):
    """Lists and arrays as tuples, NumPy's numbers as Python's: what JSON takes and gives back."""
    if isinstance(value, (list, tuple, np.ndarray)):
        return tuple(_freeze(v) for v in value)
    if isinstance(value, dict):
        return {key: _freeze(v) for key, v in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def to_config(value):
    """Dictionary of a `Described` object: `{"__class__": name, field: value, ...}`, nested."""
    if isinstance(value, Described):
        fields = {f.name: to_config(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"__class__": type(value).__name__, **fields}
    if isinstance(value, (list, tuple)):
        return [to_config(v) for v in value]
    if isinstance(value, dict):
        return {k: to_config(v) for k, v in value.items()}
    return value


def from_config(config):
    """The object that `to_config` wrote down.

    Raises:
      UserError: the class or one of its fields is not known to this version.
    """
    if isinstance(config, list):
        return tuple(from_config(v) for v in config)
    if not isinstance(config, dict):
        return config
    if "__class__" not in config:
        return {k: from_config(v) for k, v in config.items()}
    name = config["__class__"]
    if name not in _CLASSES:
        raise UserError(
            f"the model uses a layer {name!r}, which this version does not have (it has"
            f" {sorted(_CLASSES)})"
        )
    try:
        return _CLASSES[name](**{k: from_config(v) for k, v in config.items() if k != "__class__"})
    except TypeError as error:
        raise UserError(
            f"the description of layer {name!r} does not fit this version: {error}"
        ) from None
