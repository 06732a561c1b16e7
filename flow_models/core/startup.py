"""Loading TensorFlow without its messages, the device that it found, and the compiler setting for
CPUs."""

import contextlib
import functools
import os
import re
import sys
import tempfile
from collections.abc import Iterator

from flow_models.core.compiled import keep_compiled
from flow_models.core.errors import UserError

GPU_FILES = ("/dev/nvidiactl", "/dev/nvidia0")  # there where a driver has found a GPU
_held: list[str] = []  # what TensorFlow said while it was loaded


def load_tensorflow():
    """The module, imported with its C++ messages to stderr held back (shown if the import fails).

    At import and at the first look for devices TensorFlow reports a missing GPU driver and the use
    of oneDNN, at every log level. The stderr of a script is for the user's mistakes.
    """
    keep_compiled()
    if "tensorflow" in sys.modules:
        _keep_float32()
        return sys.modules["tensorflow"]
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()
            _keep_float32()
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        else:
            held.seek(0)
            _held.append(held.read().decode(errors="replace"))
        finally:
            os.dup2(kept, 2)
            os.close(kept)
    return tf


@functools.cache  # once: a user may switch it on afterwards
def _keep_float32() -> None:
    """Mantissas of 10 bits in matrix products, the default on newer GPUs, blur spline knots."""
    sys.modules["tensorflow"].config.experimental.enable_tensor_float_32_execution(False)


@contextlib.contextmanager
def tensor_float_32(on: bool) -> Iterator[None]:
    """What is compiled within may take TF32 in matrix products, if `on`; else nothing changes.

    The switch is of the whole process, and what was compiled before keeps its precision.
    """
    if not on:
        yield
        return
    settings = load_tensorflow().config.experimental
    before = settings.tensor_float_32_execution_enabled()
    settings.enable_tensor_float_32_execution(True)
    try:
        yield
    finally:
        settings.enable_tensor_float_32_execution(before)


def device() -> str:
    """What TensorFlow computes on: "2 x NVIDIA L4" or "CPU, 16 cores".

    Raises:
      UserError: this machine has a GPU, or DEVICE=gpu asks for one, and TensorFlow sees none.
    """
    tf = load_tensorflow()
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        return f"{len(gpus)} x {details.get('device_name', 'GPU')}"
    if why := _gpu_expected():
        raise UserError(
            f"{why}, and TensorFlow sees none: {complaint() or 'it does not say why'};"
            " python -m flow_models doctor says more, DEVICE=cpu trains on the CPU"
        )
    affinity = getattr(os, "sched_getaffinity", None)
    return f"CPU, {len(affinity(0)) if affinity else os.cpu_count()} cores"


def _gpu_expected() -> str:
    """Why a GPU should be there; empty where none is, or where it is hidden on purpose."""
    asked = os.environ.get("DEVICE", "").lower()
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1")
    if asked == "gpu":
        return "DEVICE=gpu asks for a GPU"
    there = asked != "cpu" and not hidden and any(map(os.path.exists, GPU_FILES))
    return "this machine has a GPU" if there else ""


def complaint() -> str:
    """What TensorFlow said of GPUs and their libraries while it was loaded, in one line."""
    lines = [line for line in "\n".join(_held).splitlines() if re.search("cuda|GPU|libcu", line)]
    words = [re.sub(r"^.*?\.(cc|cu\.cc|h):\d+\]\s*", "", line).strip() for line in lines]
    return " ".join(dict.fromkeys(words))[:300].rstrip(". ")


def compile_fast_on_cpu():
    """Sets LLVM to level 1 instead of 3: XLA then compiles flows in two thirds of the time, and
    they run as fast.

    Measured on five spline couplings: 5.4 against 9.6 s to compile, 238 against 247 steps a second.
    XLA_FLAGS takes precedence. Set before anything loads TensorFlow: a model saved by one process
    gives the same bits in another only if both compile alike.
    """
    if os.path.exists("/dev/nvidiactl"):
        return
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_backend_optimization_level" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_backend_optimization_level=1".strip()
