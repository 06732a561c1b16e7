"""A run as a program: exit statuses, signals, and the meeting of several workers."""

import os
import signal
import sys
from collections.abc import Callable

from flow_models.core.errors import EX_TEMPFAIL, Terminated, UserError, WorkerLost
from flow_models.runs.warned import recorded
from flow_models.training import cluster

FIRST = ("jsonargparse", "numpy", "tensorflow")  # what a Python without our packages lacks


def guarded(action: Callable[[], None]) -> None:
    """Runs an action as a program.

    A user's mistake is one line on stderr and status 2, Ctrl-C status 130, SIGTERM, a lost worker
    or a failure that may pass status 75.
    """
    signal.signal(signal.SIGTERM, _terminate)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files that are not UTF-8
    try:
        with recorded():
            action()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.status)
    except ModuleNotFoundError as error:
        if error.name not in FIRST:
            raise
        what = f"{sys.executable} has no {error.name}"
        print(f"error: {what}: make create-env, then source .venv/bin/activate", file=sys.stderr)
        sys.exit(UserError.status)
    except WorkerLost as error:
        _leave(f"error: {error}", EX_TEMPFAIL)
    except Terminated:
        _leave("terminated: the same command with --resume goes on", EX_TEMPFAIL)
    except KeyboardInterrupt:
        _leave("interrupted", 130)


def join_workers(strategy: str) -> None:
    """Joins the other workers, if there are any: TensorFlow wants that before all else."""
    if cluster.join(strategy).count > 1:
        from flow_models.core.startup import load_tensorflow

        load_tensorflow()
        from flow_models.training import devices

        devices.get(strategy)


def _terminate(*_):
    """SIGTERM, once: a second one must not break off the saving that the first one began."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def _leave(line: str, status: int) -> None:
    print(line, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # background threads of MLflow and TensorFlow would hold the process
