"""The one error that is the user's to mend."""

EX_TEMPFAIL = 75  # sysexits.h: try again later. AWS Batch retries a job that ends so


class Terminated(KeyboardInterrupt):
    """SIGTERM: the machine is taken back, or the job is stopped from outside. Status
    EX_TEMPFAIL."""


class WorkerLost(RuntimeError):
    """A worker does not answer any more; all stop, and may start again. Status EX_TEMPFAIL."""


class UserError(ValueError):
    """A mistake in what the user gave: one line that says what was expected, what came and what to
    do about it.

    The scripts print the line on stderr and end with status 2; from Python it is a `ValueError`.
    """
