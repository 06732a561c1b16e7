"""The environment of the other libraries, benchmarks/.venv, made if missing; the project's is never
touched."""

import subprocess
import sys
from pathlib import Path

from flow_models.core.errors import UserError

HERE = Path(__file__).resolve().parents[1]


def python(folder: Path = HERE / ".venv", requirements: Path = HERE / "requirements.txt") -> str:
    """Path of that environment's Python, after making it or updating it to `requirements`.

    Raises:
      UserError: it cannot be made or installed; one line with pip's reason.
    """
    complete, wanted, program = (
        folder / ".complete",
        requirements.read_text(),
        folder / "bin" / "python",
    )
    if complete.exists() and complete.read_text() == wanted and program.exists():
        return str(program)
    print(
        f"making the peers' environment {folder} (about 2 GB, a few minutes)",
        file=sys.stderr,
        flush=True,
    )
    if not program.exists():
        _call([sys.executable, "-m", "venv", str(folder)], folder)
    install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-r",
        str(requirements),
    ]
    _call([str(program), *install], folder)
    complete.write_text(wanted)
    return str(program)


def _call(command, folder):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        reason = next(
            (line for line in lines if line.startswith("ERROR")),
            lines[-1] if lines else "no message",
        )
        raise UserError(
            f"cannot install the peers' environment {folder}: {reason.removeprefix('ERROR: ')}; "
            "see benchmarks/requirements.txt"
        )
