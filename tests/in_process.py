"""Programs run in the process of the tests, where TensorFlow is loaded already."""

import importlib
import signal
import sys


def application(monkeypatch, number: int, *arguments) -> int:
    """Runs `train_flowmodels<number>.py` with arguments; gives back the exit status."""
    import flow_models as fm

    script = importlib.import_module(f"train_flowmodels{number}")
    monkeypatch.setattr(sys, "argv", [f"train_flowmodels{number}.py", *map(str, arguments)])
    return status(lambda: fm.run(script.APPLICATION))


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
