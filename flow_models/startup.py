"""Loading TensorFlow without its greetings."""

import os
import sys
import tempfile


def load_tensorflow():
    """The module, imported with what its C++ prints on stderr held back (shown if the import fails).

    At import and at the first look for devices it reports the absence of a GPU driver and the presence of oneDNN, at no
    log level that one could choose; a script's stderr is for the user's mistakes.
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
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
    return tf
