"""Errors: the one that a user can fix, and those that stop a run; and the warning."""

import warnings

EX_TEMPFAIL = 75  # sysexits.h: try again later. AWS Batch retries a job with this status


class Terminated(KeyboardInterrupt):
    """SIGTERM: the machine is taken back, or the job is stopped from outside. Status
    EX_TEMPFAIL."""


class WorkerLost(RuntimeError):
    """A worker no longer answers; all workers stop and may start again. Status EX_TEMPFAIL."""


class UserError(ValueError):
    """A mistake that the user can fix: one line that says what was expected, what came, and what to
    do.

    The scripts print the line on stderr and exit with `status`. In Python it is a `ValueError`.
    """

    status = 2


class TransientError(UserError):
    """A failure that may pass, such as an overloaded store or a lost network, and that outlived all
    retries. The same command with --resume may go on. Status EX_TEMPFAIL."""

    status = EX_TEMPFAIL


class FlowModelsWarning(UserWarning):
    """A result not to trust as it is, or something that failed and that the run does without.

    `warn` issues it. A run shows it on stderr as one line, in its report, metrics.json and MLflow.
    """


def warn(text: str) -> None:
    """Issues a `FlowModelsWarning`: one line that says what is wrong and what to do."""
    warnings.warn(text, FlowModelsWarning, stacklevel=3)
