"""What `python -m flow_models` can do with a trained model, one module a command."""

import argparse
import shlex

from flow_models.core.errors import UserError


def seed(text: str) -> int:
    """A seed of the command line, as TensorFlow and NumPy both take it."""
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be a whole number, at least 0 and below 2^31"
        )
    return int(text)


def flags(text: str) -> tuple[str, ...]:
    """Splits the value of --args as a shell would. Raises UserError for a quote without its end."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UserError(f"--args {text!r}: {error}") from error
