"""The application: what a script states, and the runner that all seven share. Loads nothing heavy.

    settings -> data -> partition -> model -> training -> evaluation -> report

A script states each step but the training as a function. The runner owns parsing, the folder, the
trainer, saving and the report, and trains further variants for an evaluation that asks for them.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flow_models.applications.about import about
from flow_models.core.errors import UserError
from flow_models.runs.config import parse, replace
from flow_models.runs.program import guarded, join_workers
from flow_models.runs.warned import recorded
from flow_models.training import cluster

if TYPE_CHECKING:
    from flow_models.models.model import Model
    from flow_models.models.partition import Partition
    from flow_models.training.settings import FitSettings
    from flow_models.training.trainer import FitResult, Trainer

Table = tuple[str, Sequence[str], Sequence[Sequence[object]]]  # heading, column names, rows
Figure = tuple[str, Any, str]  # name, Matplotlib figure, caption


@dataclasses.dataclass
class Results:
    """What an evaluation found, as metrics.json and the report show it.

    Attributes:
      metrics: name -> number; units are in the names or in the page of the application.
      tables: of the report.
      figures: of the report, each with the name of its file and a caption.
    """

    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    summary: str = ""
    """one paragraph at the top of the report; by default the source of the data"""

    def __repr__(self) -> str:
        shown = [f"  {name} {value}"[:100] for name, value in list(self.metrics.items())[:24]]
        more = [f"  ... {len(self.metrics) - 24} more"] if len(self.metrics) > 24 else []
        what = (
            f"{len(self.metrics)} metrics, {len(self.tables)} tables, {len(self.figures)} figures"
        )
        return "\n".join([f"Results: {what}", *shown, *more])


@dataclasses.dataclass
class Training:
    """What `Trainer` takes beside the model, and what is done with the trained model.

    Attributes:
      data, validation, settings, loss: as in `fit`.
    """

    data: Any
    validation: Any = None
    settings: FitSettings | None = None
    loss: Callable | None = None
    then: Callable[[Model, Trainer], None] | None = None
    """called with the trained model and its trainer before it is saved: calibration, say"""


@dataclasses.dataclass(frozen=True)
class Application:
    """One row of the figure.

    Attributes:
      config: class of its settings, made by `settings`, with groups `run` and `fit`.
      presets: name -> settings that differ from the defaults.
      partitions: partitions(config, problem) -> {form: Partition}; the first form is the default
        where the settings have no `form`.
      load_data: load_data(config) -> problem, anything with `name` and `source`, texts of the
        report, and what the other functions look for in it.
      build_model: build_model(config, problem, partition) -> Model.
      evaluate: evaluate(run) -> Results; `run` has model, problem, config and the training.
      training: training(config, problem, model) -> Training; by default problem.train and
        problem.validation by maximum likelihood.
    """

    config: type
    presets: dict[str, dict[str, Any]]
    partitions: Callable[[Any, Any], dict[str, Partition]]
    load_data: Callable[[Any], Any]
    build_model: Callable[[Any, Any, Partition], Model]
    evaluate: Callable[[Run], Results]
    training: Callable[[Any, Any, Model], Training] | None = None

    @property
    def name(self) -> str:
        """Of its runs: the file of the script without "train_", for example "flowmodels1"."""
        return Path(inspect.getfile(self.evaluate)).stem.removeprefix("train_")

    @property
    def description(self) -> str:
        """The docstring of the script: the row of the figure, commands, what to expect."""
        return inspect.getdoc(sys.modules[self.evaluate.__module__]) or self.name

    @property
    def title(self) -> str:
        """Of its reports: the first paragraph of the docstring, up to a colon or a full stop."""
        first = " ".join(self.description.partition("\n\n")[0].split())
        text = re.sub(r"^Application \d, ", "", first)
        said = re.split("[:.]", text)[0]
        return said[:1].upper() + said[1:]

    def partition(self, config, problem) -> Partition:
        """The partition of the form that the settings name.

        Raises:
          UserError: the data do not allow the form.
        """
        found = self.partitions(config, problem)
        form = form_of(config) or next(iter(found))
        if form not in found:
            raise UserError(f"the data allow no form {form!r}; there is {', '.join(found)}")
        return found[form]

    def prepared(self, config, problem, form: str | None = None) -> tuple[Model, Training]:
        """A model of one form, not yet trained, and how to train it."""
        config = replace(config, form=form) if form else config
        model = self.build_model(config, problem, self.partition(config, problem))
        if self.training is not None:
            return model, self.training(config, problem, model)
        return model, Training(problem.train, problem.validation)


def form_of(config) -> str | None:
    """The form that the settings name, where there are several."""
    return next((each.form for each in _parts(config) if hasattr(each, "form")), None)


def _parts(config):
    values = [getattr(config, field.name) for field in dataclasses.fields(config)]
    return [config, *(value for value in values if dataclasses.is_dataclass(value))]


@dataclasses.dataclass
class Run:
    """A run under way: what `evaluate` looks at, and by what it trains further models."""

    application: Application
    config: Any
    problem: Any
    folder: Any
    model: Model
    trainer: Trainer | None
    result: FitResult
    warnings: list[str] = dataclasses.field(default_factory=list)
    """what was warned of so far"""

    @property
    def history(self) -> dict[str, list[float]]:
        """Of the training, a list a column."""
        return self.result.history

    def train(
        self, form=None, *, config=None, problem=None, settings=None, progress=False, then=True
    ):
        """A further model, of another form or with other settings or data, and its `FitResult`.

        `settings` of the training, where it shall have others than `config` leads to.
        """
        config, problem = config or self.config, problem or self.problem
        model, training = self.application.prepared(config, problem, form)
        training.settings = settings or training.settings
        trainer = trainer_of(model, training, config)
        training.data = None  # the trainer has its own: large sets would be held twice
        result = trainer.run(progress=progress)
        if training.then and then:
            training.then(model, trainer)
        return model, result


def trainer_of(model, training: Training, config, **options):
    """The `Trainer` of a model."""
    from flow_models.training.trainer import Trainer

    settings = training.settings or config.fit
    return Trainer(
        model, training.data, training.validation, settings, loss=training.loss, **options
    )


def run(application: Application) -> None:
    """Runs an application as a program, with the arguments of the command line.

    A user's mistake is one line on stderr and status 2, Ctrl-C status 130, SIGTERM or a lost worker
    status 75.
    """

    def started():
        config = parse(
            application.config, application.presets, application.description, sys.argv[1:]
        )
        join_workers(config.fit.strategy)
        train_and_report(application, config)

    guarded(started)


def train_and_report(application: Application, config) -> None:
    """One run, from the settings to the report, which also tells all that was warned of."""
    is_first = cluster.task(config.fit.strategy).index == 0
    with recorded(is_first) as warnings:
        _train_and_report(application, config, warnings)


def _train_and_report(application: Application, config, warnings: list[str]) -> None:
    from flow_models.core import startup
    from flow_models.runs.folder import RunFolder

    folder = RunFolder(config, application.name)  # refuses before anything is read or simulated
    problem = application.load_data(config)
    device = startup.device()
    if cluster.task(config.fit.strategy).index == 0:
        print(f"device: {device}", flush=True)
    reused = getattr(problem, "reused", None)
    if reused is not None and not config.run.resume:
        with folder:
            folder.describe(about(application, config, problem, reused.model, None))
            reused.model.save(folder.model)
            under_way = Run(
                application, config, problem, folder, reused.model, None, reused.result, warnings
            )
            finish(under_way, reused.evaluate(under_way))
        return
    model, training = application.prepared(config, problem)
    trainer = trainer_of(
        model, training, config, folder=folder.checkpoints, resume=config.run.resume
    )
    with folder:
        folder.describe(about(application, config, problem, model, trainer))
        result = trainer.run(on_epoch=folder.log_epoch)
        if training.then:
            training.then(model, trainer)
        model.save(folder.model)
        under_way = Run(application, config, problem, folder, model, trainer, result, warnings)
        finish(under_way, application.evaluate(under_way))


def finish(run: Run, results: Results) -> None:
    """Writes figures, metrics and the report; the sides of the network stand first."""
    from flow_models import plots
    from flow_models.runs.folder import machine_metrics

    sides = plots.sides(run.model.partition)
    figures = [("sides", sides, "The two sides of the network, with the widths of this run.")]
    figures.extend(results.figures)
    written = [
        (run.folder.write_figure(name, figure), caption) for name, figure, caption in figures
    ]
    title = f"{run.application.title}: {run.problem.name}"
    metrics = {**results.metrics, **run.result.metrics(), **machine_metrics()}
    summary = results.summary or run.problem.source
    tables, warnings = results.tables, run.warnings
    run.folder.finish(run.history, metrics, title, summary, written, tables, warnings)


def no_data(name: str, known: Sequence[str], suffixes: Sequence[str]) -> UserError:
    """The error for data that are neither a table nor known by name."""
    tables = ", ".join(suffixes)
    return UserError(f"no data {name!r}: give a table ({tables}) or one of {', '.join(known)}")
