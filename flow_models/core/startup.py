"""Loading TensorFlow without its greetings."""

import os
import sys
import tempfile


def load_tensorflow():
    """The module, imported with what its C++ prints on stderr held back (shown if the import
    fails).

    At import and at the first look for devices it reports the absence of a GPU driver and the
    presence of oneDNN, at no log level that one could choose; a script's stderr is for the user's
    mistakes.
    """
    if "tensorflow" in sys.modules:
        return sys.modules["tensorflow"]
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()
            # 10-bit mantissas in matrix products, the default on newer GPUs, would blur the knots
            # of splines
            tf.config.experimental.enable_tensor_float_32_execution(False)
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
    return tf


def compile_fast_on_cpu():
    """LLVM at level 1 in place of 3: XLA compiles flows in two thirds of the time, and they run as
    fast.

    Measured here on five spline couplings (5.4 against 9.6 s, 238 against 247 steps a second).
    XLA_FLAGS has the last word.
    Set before TensorFlow is loaded by anybody: a model saved by one process gives the same bits in
    another only if both compile alike.
    """
    if os.path.exists("/dev/nvidiactl"):
        return
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_backend_optimization_level" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_backend_optimization_level=1".strip()
