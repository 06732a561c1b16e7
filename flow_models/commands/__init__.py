"""What `python -m flow_models` can do with a trained model, one module a command."""

import argparse


def seed(text: str) -> int:
    """A seed of the command line, as TensorFlow and NumPy both take it."""
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, at least 0 and below 2^31")
    return int(text)
