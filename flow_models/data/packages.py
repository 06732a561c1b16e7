"""Files that installed packages carry.

A package is located and never imported: some loaders pull in half a machine-learning stack. Some
files are pickles; they are read by an unpickler that builds arrays of numbers and nothing else.
"""

import importlib.util
import io
import os
import pickle

import numpy as np

from flow_models.core.errors import UserError

_NUMPY = {  # all that a pickled array of numbers needs; older pickles name numpy's former module
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
    ("numpy._core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
}


def package_file(module: str, requirement: str, *parts: str) -> str:
    """The path of a file inside an installed package. Raises UserError with the pip command where
    it is missing."""
    spec = importlib.util.find_spec(module)
    folders = spec.submodule_search_locations if spec else None
    path = os.path.join(folders[0], *parts) if folders else ""
    if not os.path.exists(path):
        raise UserError(
            f"these images come inside the package {requirement}: pip install {requirement}"
        )
    return path


def read_pickled_array(data: bytes, what: str) -> np.ndarray:
    """An array of numbers out of a pickle. Raises UserError where it holds, or asks for, anything
    else."""
    try:
        array = _ArrayUnpickler(io.BytesIO(data)).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{what}: not a pickled array of numbers ({error}); nothing was run"
        ) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "uif":
        raise UserError(f"{what}: an array of numbers is expected")
    return array


class _ArrayUnpickler(pickle.Unpickler):
    """Refuses whatever a pickle asks for, except arrays of numbers, before it is looked up."""

    def find_class(self, module: str, name: str):
        if (module, name) not in _NUMPY:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _NUMPY[module, name]
