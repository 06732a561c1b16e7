"""Programs run in the process of the tests, where TensorFlow is loaded already."""

import importlib
import signal
import sys


def application(monkeypatch, number: int, *arguments) -> int:
    """Runs `train_flowmodels<number>.py` with arguments; gives back the exit status."""
    from flow_models.runs.config import run

    script = importlib.import_module(f"train_flowmodels{number}")
    monkeypatch.setattr(sys, "argv", [f"train_flowmodels{number}.py", *map(str, arguments)])
    return status(lambda: run(script.main, script.Config, script.PRESETS, script.__doc__))


def status(action) -> int:
    """The exit status of a program, which may leave by SystemExit and takes over SIGTERM while it
    runs."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        action()
    except SystemExit as end:
        return end.code
    finally:
        signal.signal(signal.SIGTERM, handler)
    return 0
