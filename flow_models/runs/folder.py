"""The folder of one run: config.yaml, about.json, history.csv, metrics.json, figures/, model/ and
report.html."""

import csv
import datetime
import fcntl
import io
import json
import os
import resource
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml

from flow_models.core import storage
from flow_models.core.errors import TransientError, UserError, warn
from flow_models.core.failures import local_failures
from flow_models.runs import report
from flow_models.runs.config import flat, replace
from flow_models.runs.mirror import Mirror
from flow_models.runs.tracking import Tracker
from flow_models.runs.tracking.folder import ABOUT, public
from flow_models.training import cluster

OURS = {
    ABOUT,
    "config.yaml",
    "history.csv",
    "metrics.json",
    "figures",
    "model",
    "report.html",
    "checkpoint",
    "mlflow.json",
    "scores.csv",
    "skipped.csv",
    "posterior.csv",
    "posteriors.nc",
    "posterior_observed.nc",
    "strangest.csv",
    "reference",
    "background",
    "checkpoint-background",
}
IN_TABLES = ("aupr_", "fpr95_")  # beside the area under the curve: many, and not printed
Table = tuple[str, Sequence[str], Sequence[Sequence[object]]]
OF_ONE_COMMAND = (
    "resume",
    "overwrite",
    "output_dir",
)  # not settings to take over into the next run


class RunFolder:
    """The folder of a run, new or resumed. Making it checks; as a context it is created, and MLflow
    listens.

    A run in S3 writes its checkpoints there; the rest goes to a temporary folder here, and from
    there up as it comes.

    Args:
      config: settings of the run, made by `runs.config.settings`, with groups `run` and `fit`.
      application: its name, for example "flowmodels1".

    Raises:
      UserError: the folder holds another run and neither resume nor overwrite is set, another
        process is at work in it, or it cannot be written.
    """

    def __init__(self, config, application: str):
        self.application, self.config = application, config
        if config.run.resume and config.run.overwrite:
            raise UserError("--resume goes on with a run, --overwrite deletes it: give one of them")
        if config.run.resume and not config.run.output_dir:
            raise UserError("--resume needs --output-dir, the folder of the run to go on with")
        self.mirror: Mirror | None = None
        self.temporary: tempfile.TemporaryDirectory | None = None
        self.held: int | None = None
        if cluster.task(
            config.fit.strategy
        ).index:  # of several workers the first one writes; the others do as if
            self.temporary = tempfile.TemporaryDirectory(
                prefix="flow_models-", ignore_cleanup_errors=True
            )
            self.path = Path(self.temporary.name)
            self.config = replace(
                config, output_dir=str(self.path), resume=False, overwrite=False, mlflow=False
            )
            return
        self.mirror = (
            Mirror(config.run.output_dir)
            if config.run.output_dir and storage.is_s3(config.run.output_dir)
            else None
        )
        if self.mirror:
            self.path = self.mirror.path
            self._check(self.mirror.names())
            return
        time = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        with local_failures(config.run.output_dir or "runs"):
            self.path = Path(
                storage.local_path(config.run.output_dir or f"runs/{application}/{time}")
            )
            if self.path.exists() and not self.path.is_dir():
                raise UserError(f"{self.path} is a file; --output-dir must be a folder")
            self._check(storage.names(self.path))
            # who would have to wait is told before anything is simulated or read; held from
            # __enter__ on
            try:
                self._lock()
            finally:
                self._release()

    def _check(self, found: set[str]) -> None:
        """Refuses a folder that is occupied by something else than what the command may touch."""
        if found <= {
            "figures"
        }:  # nothing, or what a run leaves that is killed before its first file
            if self.config.run.resume:
                print(f"nothing to resume in {self} yet: a new run starts there", file=sys.stderr)
            return
        foreign = sorted(found - OURS)
        if self.config.run.overwrite and (foreign or "config.yaml" not in found):
            what = f"it holds {foreign[0]}" if foreign else "it has no config.yaml"
            raise UserError(
                f"{self} is not the folder of a run alone ({what}): nothing was deleted"
            )
        if self.config.run.resume and "config.yaml" not in found:
            raise UserError(
                f"{self} is not the folder of a run (no config.yaml): there is nothing to resume"
            )
        if not (self.config.run.resume or self.config.run.overwrite):
            raise UserError(
                f"{self} holds another run: use --resume to go on with it, --overwrite to delete"
                " it, or another --output-dir"
            )

    def __enter__(self):
        try:
            return self._open()
        except BaseException:
            self._release()
            raise

    def _open(self):
        with local_failures(str(self.path)):
            self._lock()
            if self.config.run.overwrite:
                self._delete()
            if self.mirror and self.config.run.resume:
                self.mirror.fetch(leave_out="checkpoint")
            self._make()
            self._lock()
        self.settings = _plain(
            {k: v for k, v in flat(self.config).items() if k not in OF_ONE_COMMAND}
        )
        self.settings["tracking_uri"] = public(self.config.run.tracking_uri)
        self.rows = _read_rows(self.path / "history.csv")
        self._write(
            "config.yaml", yaml.safe_dump(self.settings, sort_keys=False).encode(), must=True
        )
        name = str(self).rstrip("/").rpartition("/")[2]
        self.tracker = Tracker(
            str(self.path),
            self.application,
            name,
            self.config.run.tracking_uri or None,
            self.config.run.mlflow,
            shown=str(self),
            register=self.config.run.register_model,
        )
        self.tracker.__enter__()
        return self

    def _lock(self) -> None:
        """Holds the folder, once it is there, until this process leaves it or dies; a disk without
        locks does without."""
        if self.held is not None or not self.path.is_dir():
            return
        self.held = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(self.held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process is at work in {self}: wait for it, stop it, or take another"
                " --output-dir"
            ) from None
        except OSError:
            pass

    def _release(self) -> None:
        if self.held is not None:
            os.close(self.held)
            self.held = None

    def _delete(self) -> None:
        """Removes what a run writes, and nothing else."""
        if self.mirror:
            return self.mirror.delete(OURS & self.mirror.names(), last="config.yaml")
        for name in OURS & storage.names(self.path):
            item = self.path / name
            shutil.rmtree(item) if item.is_dir() and not item.is_symlink() else item.unlink()

    def _make(self) -> None:
        """Makes the folder; a default name that another run took in the same second gets a
        number."""
        first, number = self.path, 2
        while not self.config.run.output_dir:
            try:
                self.path.mkdir(parents=True)
                break
            except FileExistsError:
                self.path, number = first.with_name(f"{first.name}-{number}"), number + 1
        (self.path / "figures").mkdir(parents=True, exist_ok=True)

    def __str__(self):
        return self.mirror.uri if self.mirror else str(self.path)

    @property
    def checkpoints(self) -> str:
        return f"{self}/checkpoint"

    @property
    def model(self) -> str:
        return str(self.path / "model")

    def __exit__(self, kind, *error):
        try:
            return self._close(kind, *error)
        finally:
            self._release()

    def _close(self, kind, *error):
        if self.temporary:
            self.temporary.cleanup()
            return None
        if kind is not None and issubclass(kind, (KeyboardInterrupt, TransientError)):
            print(
                f"to go on where this stopped: the same command with --resume --output-dir {self}",
                file=sys.stderr,
            )
        if self.mirror:
            self.mirror.send(
                must=False
            )  # before MLflow, which may be slow: an interrupted run has little time
        try:
            return self.tracker.__exit__(kind, *error)
        finally:
            if self.mirror:
                self.mirror.send(must=kind is None)  # also what MLflow has written at last
                self.mirror.close()

    def log_epoch(self, row: dict[str, float]) -> None:
        """Adds a row to history.csv; rows that an interrupted run had written past its checkpoint
        give way."""
        self.rows = [earlier for earlier in self.rows if earlier["step"] < row["step"]] + [row]
        self._write("history.csv", _csv(self.rows).encode())
        self._listen()
        self.tracker.log_row(row)

    def write_figure(self, name: str, figure) -> str:
        """figures/<name>.png; gives back the file's name."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        self._write(f"figures/{name}.png", buffer.getvalue())
        return f"{name}.png"

    def describe(self, about: dict) -> None:
        """about.json: what the run is, from which MLflow's pages are filled.

        Warns where an image of other sources began the run.
        """
        ours, path = about.get("tags", {}).get("source"), self.path / ABOUT
        began = json.loads(path.read_text())["tags"].get("source") if path.exists() else None
        if began and ours and began != ours:
            warn(f"{self} was begun by an image of the sources {began}; those of {ours} go on")
        self._write(ABOUT, (json.dumps(about, indent=1) + "\n").encode())

    def write_text(self, name: str, text: str) -> None:
        """A file of the run's own, one of OURS."""
        self.write_bytes(name, os.fsencode(text))  # names of files that are not UTF-8 as they are

    def write_bytes(self, name: str, content: bytes) -> None:
        """A file of the run's own, one of OURS."""
        self._write(name, content)

    def finish(
        self,
        history: dict[str, list],
        metrics: dict[str, float],
        title: str,
        summary: str,
        figures: list[tuple[str, str]],
        tables: Sequence[Table] = (),
        warnings: Sequence[str] = (),
    ) -> None:
        """Writes history.csv, metrics.json and report.html, sends all to MLflow, and prints the
        metrics.

        Args:
          figures: (file name, caption) in the order of the report.
          tables: (heading, column names, rows), before the figures.
          warnings: lines, a list "warnings" in metrics.json where there are some.
        """
        self._write(
            "history.csv",
            _csv([dict(zip(history, row)) for row in zip(*history.values())]).encode(),
        )
        found: dict[str, object] = {k: float(v) for k, v in metrics.items()}
        if warnings:
            found["warnings"] = list(warnings)
        self._write("metrics.json", (json.dumps(found, indent=1) + "\n").encode())
        command = public(shlex.join(["python", *_program(), *sys.argv[1:]]))
        with local_failures(str(self.path)):
            report.write_report(str(self.path), title, summary, figures, tables, command)
        self._link_latest()
        for name, value in metrics.items() if not self.temporary else ():
            if not (name.endswith(report.INTERVALS) or name.startswith(IN_TABLES)):
                print(f"{name:30s} {value:.6g}")
        if self.mirror:
            self.mirror.send()
        if not self.temporary:
            print(f"everything is in {self}, to look at: {self}/report.html")
        self._listen()
        self.tracker.finish(found)

    def _listen(self):
        """Starts MLflow at the first row: its import would compete with the compilation of the
        first step."""
        self.tracker.start(self.settings)

    def _link_latest(self) -> None:
        """Points runs/<application>/latest here, where the run has its usual place."""
        if self.config.run.output_dir:
            return
        link = self.path.parent / "latest"
        try:
            temporary = link.with_name(f".latest-{os.getpid()}")
            temporary.symlink_to(self.path.name)
            os.replace(temporary, link)
        except OSError as error:
            warn(f"no link {link}: {error.strerror}")

    def _write(self, name: str, data: bytes, must: bool = False) -> None:
        storage.write_bytes(str(self.path / name), data)
        if self.mirror:
            self.mirror.send(must)


def _program() -> list[str]:
    """What Python runs: a script, or a command of this package."""
    name = Path(sys.argv[0]).name
    return ["-m", "flow_models", name] if name == "infer" else [name]


def machine_metrics() -> dict[str, float]:
    """Peak memory of this process, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"peak_memory_mb": peak / (2**20 if sys.platform == "darwin" else 2**10)}


def _csv(rows: list[dict]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _read_rows(path: Path) -> list[dict]:
    """The rows of a history.csv, none where there is no file."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def _plain(value):
    """Tuples as lists, so that the YAML is plain."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
