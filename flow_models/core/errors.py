"""Errors: the one that a user can fix, and those that stop a run."""

EX_TEMPFAIL = 75  # sysexits.h: try again later. AWS Batch retries a job with this status


class Terminated(KeyboardInterrupt):
    """SIGTERM: the machine is taken back, or the job is stopped from outside. Status
    EX_TEMPFAIL."""


class WorkerLost(RuntimeError):
    """A worker no longer answers; all workers stop and may start again. Status EX_TEMPFAIL."""


class UserError(ValueError):
    """A mistake that the user can fix: one line that says what was expected, what came, and what to
    do.

    The scripts print the line on stderr and exit with status 2. In Python it is a `ValueError`.
    """
