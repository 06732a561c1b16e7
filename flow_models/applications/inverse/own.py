"""The user's own problem as a run: its simulations, round by round, and the model of them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flow_models.applications import own_problem, own_shards
from flow_models.applications.application import Training
from flow_models.applications.inverse import models, simulating, truncated
from flow_models.applications.inverse.kept import OF_THE_RUN
from flow_models.applications.inverse.observed import read_columns
from flow_models.applications.inverse.validity import Validity
from flow_models.applications.own_shards import Streamed
from flow_models.core.errors import UserError
from flow_models.models.columns import Columns
from flow_models.models.model import Model
from flow_models.references import cache
from flow_models.runs.config import flat
from flow_models.simulators import ahead
from flow_models.simulators.ahead import Ahead, Pairs
from flow_models.simulators.user_problem import UserProblem
from flow_models.training.trainer import Trainer

DRAWS = 1000  # of the prior, that kinds are held against


@dataclasses.dataclass
class OwnRun:
    """A problem of a file, its simulations, and the user's data.

    Attributes:
      name, source: for the report.
      train, test: simulations of all rounds, failed ones too; where they are streamed, some of
        those for training.
      counts: valid and failed simulations for training, in all.
      validity: p(valid | x).
      observed: the user's data [B, M], or None.
      shares: of the prior that each round was drawn from.
    """

    name: str
    user: UserProblem
    train: Pairs
    test: Pairs
    validity: Validity
    observed: np.ndarray | None
    shares: list[float]
    counts: tuple[int, int]
    streamed: own_shards.Streamed | None = None
    source: str = ""
    ready: own_problem.Prepared | None = None

    @property
    def data_names(self) -> tuple[str, ...]:
        return self.train.data_names

    @property
    def simulator(self):
        """Names and scales of the pairs, of the model."""
        return self._ready.model.simulator

    def prepare(self, config) -> own_problem.Prepared:
        """The model of the valid pairs, not yet trained."""
        self.ready = self.fresh(config)
        return self.ready

    def fresh(self, config) -> own_problem.Prepared:
        """Another one."""
        pairs = self.streamed or self.train
        return prepare(config, self.user, pairs, self.data_names, self.validity)

    def training(self, config) -> Training:
        """How it is trained; then the density of the data."""
        ready = self._ready
        return Training(ready.train, ready.held, ready.settings, then=_know_data)

    @property
    def _ready(self) -> own_problem.Prepared:
        assert self.ready is not None, "prepared before it is trained"
        return self.ready

    def fair_test(self, config) -> Pairs:
        """Valid test pairs as the posterior has them: where failures are numerical, so many of each
        as if none had failed."""
        valid = self.test.only(self.test.valid)
        if config.failures == "physical":
            return valid
        weights = self.validity.weights(valid.x)
        chance = np.random.default_rng(config.fit.seed).uniform(size=len(weights))
        return valid.only(chance < weights / weights.max())


def samples(model: Model, y: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Of the posterior, numbers [n, P] for y [M], [B, n, P] for y [B, M]."""
    return np.asarray(model.posterior(y, n, seed=seed), np.float64)


def load(config) -> OwnRun:
    """Simulates what is not on disk yet, round by round.

    Raises:
      UserError: mistakes in the file of the problem or in the table of data.
    """
    user = UserProblem.read(config.problem)
    if user.kinds:
        _check_kinds(config, user)
    kept = cache.folder_of(config.simulations_folder)
    folder = os.path.join(kept, "simulations", f"{Path(user.path).stem}-{user.key}")
    if config.pairs_from:
        loaded = simulating.load(user, config.pairs_from, config.test_pairs, config.memory_limit_mb)
        observed = _read_observed(config, loaded.train.data_names)
        counts = loaded.valid, loaded.failed
        parts = loaded.train, loaded.test
        return _found(config, user, *parts, observed, [1.0], counts, loaded.streamed)
    observed = _observed(config, user, folder)
    rounds: list[tuple[Pairs, Pairs]] = []
    shares = []
    for number in range(config.rounds):
        x, share = _proposed(config, user, folder, number, rounds, observed)
        rounds.append(_simulated(config, user, folder, number, x))
        shares.append(share)
    train, test = (ahead.together(each) for each in zip(*rounds))
    counts = int(train.valid.sum()), int((~train.valid).sum())
    return _found(config, user, train, test, observed, shares, counts)


def _found(
    config, user: UserProblem, train: Pairs, test: Pairs, observed, shares, counts, streamed=None
) -> OwnRun:
    """The run of these pairs."""
    validity = Validity.of(train.x, train.valid, config.fit.seed)
    if config.failures == "numerical":
        validity.warn_of_gaps(train.x)
    name = f"{config.problem.rpartition(':')[2]} of {user.file}"
    found = OwnRun(name, user, train, test, validity, observed, shares, counts, streamed)
    found.source = _summary(found, config)
    return found


def prepare(
    config, user: UserProblem, pairs: Pairs | Streamed, names: Sequence[str], validity: Validity
) -> own_problem.Prepared:
    """A model of the valid pairs; settings that the user has not told follow from them."""
    bounded = any(bound is not None for bound in (*user.lower, *user.upper))
    weighted = config.failures == "numerical"
    x: Any = pairs
    y, weights = None, validity.weights if weighted else None  # type: Any, Any
    if isinstance(pairs, Pairs):
        valid = pairs.only(pairs.valid)
        x, y = valid.x, valid.y
        weights = validity.weights(x) if weighted else None
    return own_problem.prepare(
        x,
        y,
        user.names,
        names,
        lower=user.lower if bounded else None,
        upper=user.upper if bounded else None,
        kinds=kinds_of(user),
        truncate=config.truncate,
        settings=config.fit,
        weights=weights,
        **config.network.chosen,
    )


def kinds_of(user: UserProblem) -> dict[str, str] | None:
    """Of all parameters, where some are no continuous numbers."""
    return {name: user.kinds.get(name, "continuous") for name in user.names} if user.kinds else None


def _check_kinds(config, user: UserProblem) -> None:
    """Refuses kinds that the prior's draws do not have, before anything is simulated."""
    import pandas as pd

    drawn = pd.DataFrame(user.prior(DRAWS, (config.fit.seed, 0)), columns=list(user.names))
    try:
        table = Columns.of(drawn, kinds_of(user), lower=user.lower, upper=user.upper)
    except UserError as error:
        raise UserError(f"{user.file}, prior: {error}") from None
    if table.identifiers:
        raise UserError(f"{user.file}: parameter {table.identifiers[0]!r} cannot be an identifier")


def _observed(config, user: UserProblem, folder: str) -> np.ndarray | None:
    """The user's data [B, M], looked at before all is simulated."""
    if not config.observed:
        return None
    x = user.prior(ahead.FIRST, (config.fit.seed, 0))
    return _read_observed(config, _ahead(config, user, folder, "train", 0).first_names(x))


def _read_observed(config, names: Sequence[str]) -> np.ndarray | None:
    """The user's data [B, M] by the names of the simulated ones."""
    if not config.observed:
        return None
    table = read_columns(config.observed, names)
    observed = np.column_stack([table[name] for name in names])
    if config.rounds > 1 and len(observed) > 1:
        raise UserError(f"rounds are for one observation; {config.observed} has {len(observed)}")
    return observed


def _ahead(config, user: UserProblem, folder: str, part: str, number: int) -> Ahead:
    """Simulations of a part ("train" or "test") of a round."""
    stream = 2 * number + (part == "test")
    place = os.path.join(folder, f"seed-{config.fit.seed}", f"round-{number + 1}-{part}")
    return Ahead(user, place, (config.fit.seed, stream), config.jobs)


def _counts(config, number: int) -> tuple[int, int]:
    """Pairs for training and for the test of a round."""
    whole = (config.pairs, config.test_pairs)
    train, test = (n // config.rounds + (number < n % config.rounds) for n in whole)
    return train, test


def _proposed(config, user, folder, number, parts, observed) -> tuple[np.ndarray, float]:
    """Parameters of a round, for training and the test, and the share of the prior they are from.

    They are kept: a resumed run goes on with the same.
    """
    n, m = _counts(config, number)
    if number == 0:
        train, test = (user.prior(k, (config.fit.seed, s)) for s, k in enumerate((n, m)))
        return np.concatenate([train, test]), 1.0
    settings = {name: each for name, each in flat(config).items() if name not in OF_THE_RUN}
    settings = {name: each for name, each in settings.items() if name not in ("jobs", "mlflow")}
    written = json.dumps(settings, sort_keys=True, default=str).encode() + observed.tobytes()
    digest = hashlib.sha256(written).hexdigest()[:16]
    path = os.path.join(folder, f"proposals-{number + 1}-{digest}.npz")
    kept = cache.load(path)
    if kept is None:
        earlier = ahead.together([train for train, _ in parts])
        model = _trained(config, user, earlier)
        seed = (config.fit.seed, 2 * number)
        x, share = truncated.proposals(user, model, observed[0], n + m, seed)
        kept = {"x": x, "share": np.array(share)}
        cache.save(path, kept)
    return kept["x"], float(kept["share"])


def _trained(config, user: UserProblem, pairs: Pairs):
    """The model of the rounds so far."""
    validity = Validity.of(pairs.x, pairs.valid, config.fit.seed)
    ready = prepare(config, user, pairs, pairs.data_names, validity)
    Trainer(ready.model, ready.train, ready.held, ready.settings).run()
    return ready.model


def _simulated(config, user, folder, number, x) -> tuple[Pairs, Pairs]:
    n = _counts(config, number)[0]
    said = f"simulating, round {number + 1}" if config.rounds > 1 else "simulating"
    train, test = (
        _ahead(config, user, folder, part, number).pairs(rows, f"{said}, {part}")
        for part, rows in (("train", x[:n]), ("test", x[n:]))
    )
    return train, test


def _know_data(model, trainer) -> None:
    """Trains p(y), where it is not known yet."""
    if model.data_model is None:
        rows = trainer.source.arrays or trainer.source.first_rows(own_shards.SAMPLE)
        parts = rows["context"], trainer.validation["context"]
        models.with_data_density(model, trainer.settings, *parts)


def _summary(found: OwnRun, config) -> str:
    p, m = len(found.user.names), len(found.data_names)
    said = (
        f"{p} parameters, {m} data, {sum(found.counts):,} simulations;"
        f" {len(found.test.x):,} fresh ones for calibration."
    )
    if config.rounds > 1:
        shares = ", ".join(f"{share:.2g}" for share in found.shares)
        said += f" Shares of the prior that the rounds are drawn from: {shares}."
    return f"{said} {ahead.told(found.train, found.counts)}".strip()
