"""Sends a finished run to MLflow: `python -m flow_models.runs.tracking RUN`, which
`make mlflow-upload RUN=...` runs."""

import argparse
import sys
from pathlib import Path

from flow_models.core.errors import UserError
from flow_models.core.storage import is_s3
from flow_models.runs.tracking.folder import public, store_uri
from flow_models.runs.tracking.uploads import upload


def main(arguments: list[str] | None = None) -> int:
    """Runs `upload` and returns the exit status, 2 for a mistake of the user."""
    parser = argparse.ArgumentParser(
        prog="python -m flow_models.runs.tracking", description="Sends a run folder to MLflow."
    )
    parser.add_argument("run", metavar="RUN", help="the folder of the run, local or s3://")
    parser.add_argument(
        "--tracking-uri",
        help="the store; by default MLFLOW_TRACKING_URI, else the one meant for the run",
    )
    parser.add_argument("--experiment", help="by default the experiment of the run")
    parser.add_argument(
        "--register", action="store_true", help="register the model, so that it can be served"
    )
    given = parser.parse_args(arguments)
    try:
        run_id = upload(given.run, given.experiment, given.tracking_uri, given.register)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    uri = (
        "" if is_s3(given.run) else f" at {public(store_uri(given.tracking_uri, Path(given.run)))}"
    )
    print(f"{given.run} is in MLflow{uri} as run {run_id}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
