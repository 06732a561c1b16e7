"""The user's own problem: a file with a prior and a simulator, plain Python and NumPy.

    prior = {"rate_per_h": (0.1, 2.0), "ambient_c": scipy.stats.norm(18, 4)}

    def simulate(x, rng):                   # one simulation: x [P] in the order of the prior
        rate, ambient = x
        return ambient + (90 - ambient) * np.exp(-rate * HOURS) + rng.normal(0, 1.5, 4)   # [M]

`prior` has for each parameter the two ends of a uniform distribution, or a distribution of
`scipy.stats`. Where parameters depend on each other it is a function prior(n, rng) that gives n
draws, as {name: [n]} or as an array [n, P]; `bounds = {name: (lowest, highest)}` are then its
bounds, None for none. `kinds = {name: "integer" or "categorical"}` are parameters that are no
continuous numbers, as those with a discrete distribution of `scipy.stats` are by themselves; the
ends of a uniform whole number are among its values. `data_names` names the data; `simulate` may
also give {name: number}. Data that are not finite, and errors that `simulate` raises, are failed
simulations.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flow_models.core import storage, user_file
from flow_models.core.errors import UserError

WHOLE = "integer"  # the kind of a parameter with a discrete distribution
BLOCK = 1000  # draws of the prior in one go: more draws begin with those of fewer
OF_PRIOR, OF_DATA = 1, 2  # streams of random numbers: the first number of a seed
Simulated = tuple[np.ndarray, str, tuple[str, ...]]  # data, why there are none, their names
NOTHING = np.empty(0)


@dataclasses.dataclass(frozen=True)
class UserProblem:
    """A prior and a simulator of a file.

    Attributes:
      path: of the file, absolute.
      function: name of the simulator.
      names: of the parameters.
      lower, upper: of each parameter, None where there is no bound.
      distributions: of independent parameters; None where the prior is a function.
      kinds: of the parameters that are no continuous numbers, by name.
      data_names: as the file has them, or None.
      key: a hash of the code: of the file and of what it imports from its folder.
    """

    path: str
    function: str
    names: tuple[str, ...]
    lower: tuple[float | None, ...]
    upper: tuple[float | None, ...]
    distributions: tuple[Any, ...] | None
    data_names: tuple[str, ...] | None
    key: str
    kinds: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def read(cls, problem: str) -> UserProblem:
        """The problem of FILE.py:function, local or in S3.

        Raises:
          UserError: no such file, function or prior; an error in the file, with its line.
        """
        file, _, function = problem.rpartition(":")
        if not file or "/" in function or not function:
            raise UserError(f"no problem {problem!r}: give FILE.py:function")
        path = os.path.abspath(_here(file))
        module = user_file.load(path)
        if not callable(getattr(module, function, None)):
            raise UserError(f"{file} has no function {function}")
        if not hasattr(module, "prior"):
            raise UserError(
                f"{file} has no prior: write prior = {{'name': (lowest, highest)}} or a function"
                " prior(n, rng)"
            )
        kinds = _kinds(module, file)
        names, distributions = _independent(module.prior, kinds, file), None
        if names is not None:
            distributions = tuple(names.values())
            discrete = [name for name, each in names.items() if _is_discrete(each)]
            kinds = dict.fromkeys(discrete, WHOLE) | kinds
            ends = [each.support() for each in distributions]
        else:
            names = dict.fromkeys(_columns(_drawn(path, 1, 0))[0])
            given = getattr(module, "bounds", {})
            _check_names(given, names, f"{file}: bounds")
            ends = [given.get(name) or (None, None) for name in names]
        _check_names(kinds, names, f"{file}: a kind")
        told = getattr(module, "data_names", None)
        lower, upper = (tuple(_bound(end[side]) for end in ends) for side in (0, 1))
        data_names = None if told is None else tuple(map(str, told))
        digest = hashlib.sha256(function.encode())
        for name, content in user_file.sources(path):
            digest.update(name.encode() + content)
        key = digest.hexdigest()[:16]
        found = (tuple(names), lower, upper, distributions, data_names, key, kinds)
        return cls(path, function, *found)

    def prior(self, n: int, seed: Sequence[int], box: np.ndarray | None = None) -> np.ndarray:
        """n draws [n, P]; more draws with the same seed begin with the same rows.

        Args:
          box: lowest and highest values [2, P] of independent parameters, to draw between.

        Raises:
          UserError: the function raises an error, or gives something else.
        """
        return self.prior_rows(0, n, seed, box)

    def prior_rows(
        self, first: int, last: int, seed: Sequence[int], box: np.ndarray | None = None
    ) -> np.ndarray:
        """Rows first to last - 1 of `prior`, [last - first, P], without those before."""
        start = first // BLOCK
        blocks = [self._block(seed, number, box) for number in range(start, -(-last // BLOCK))]
        return np.concatenate(blocks)[first - start * BLOCK : last - start * BLOCK]

    def mass(self, box: np.ndarray) -> float:
        """Share of the prior within a box [2, P]; 1 where parameters depend on each other."""
        shares = [np.diff(_within(e, *box[:, i])) for i, e in enumerate(self.distributions or ())]
        return float(np.prod(shares))

    def _block(self, seed: Sequence[int], number: int, box) -> np.ndarray:
        if self.distributions is None:
            names, x = _columns(_drawn(self.path, BLOCK, *seed, number))
            if x.shape != (BLOCK, len(self.names)) or names != list(self.names):
                raise UserError(
                    f"{self.file}: prior(n, rng) gives {list(x.shape)}, not [n, {len(self.names)}]"
                )
        else:
            shares = _rng(OF_PRIOR, *seed, number).uniform(size=(BLOCK, len(self.names)))
            x = np.empty_like(shares)
            for i, each in enumerate(self.distributions):
                low, high = (0.0, 1.0) if box is None else _within(each, *box[:, i])
                x[:, i] = each.ppf(low + (high - low) * shares[:, i])
        if not np.isfinite(x).all():
            raise UserError(f"{self.file}: draws of the prior are not finite")
        return x

    @property
    def file(self) -> str:
        """Its name without the folder."""
        return os.path.basename(self.path)


def simulate(path: str, function: str, x: np.ndarray, seed: Sequence[int]) -> Simulated:
    """One simulation of parameters x [P], in any process: data [M], or none and why, and the
    names of the data where the function gives them."""
    called = getattr(user_file.load(path), function)
    try:
        found = called(x.copy(), _rng(OF_DATA, *seed))
        names = tuple(map(str, found)) if isinstance(found, Mapping) else ()
        y = np.asarray(list(found.values()) if names else found, np.float64)
    except Exception as error:
        return NOTHING, user_file.place(error, path, called), ()
    line = f"{os.path.basename(path)}, line {called.__code__.co_firstlineno}"
    y = y[None] if y.ndim == 0 else y
    if y.ndim != 1:
        return NOTHING, f"{line}: {function} gives {list(y.shape)}, one row [M] is expected", ()
    if not np.isfinite(y).all():
        return NOTHING, f"{line}: data that are not finite", names
    return y, "", names


def _here(file: str) -> str:
    """The file itself, or a copy of one in S3, in a folder of its own."""
    if not storage.is_s3(file):
        return file
    content = storage.read_bytes(file)
    folder = storage.cache_folder("problems", hashlib.sha256(content).hexdigest()[:16])
    path = os.path.join(folder, os.path.basename(file))
    storage.write_bytes(path, content)
    return path


def _rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(list(seed))


def _kinds(module, file: str) -> dict[str, str]:
    """Kinds by name, as the file has them."""
    told = getattr(module, "kinds", {})
    if not isinstance(told, Mapping) or not all(isinstance(kind, str) for kind in told.values()):
        raise UserError(f"{file}: kinds must be {{name: 'integer' or 'categorical'}}")
    return dict(told)


def _is_discrete(distribution) -> bool:
    return hasattr(distribution, "pmf")


def _within(distribution, low: float, high: float) -> np.ndarray:
    """Distribution function at both ends [2], so that between them are the values low to high."""
    low = np.ceil(low) - 1 if _is_discrete(distribution) else low
    return distribution.cdf([low, high])


def _independent(prior, kinds: Mapping[str, str], file: str) -> dict[str, Any] | None:
    """Distributions by name; None where the prior is a function."""
    from scipy import stats

    if callable(prior) and not isinstance(prior, Mapping):
        return None
    if not isinstance(prior, Mapping) or not prior:
        raise UserError(f"{file}: prior must be {{name: distribution}} or a function prior(n, rng)")
    found = {}
    for name, each in prior.items():
        if not hasattr(each, "ppf"):
            ends = np.asarray(each, np.float64)
            if ends.shape != (2,) or not ends[0] < ends[1] or not np.isfinite(ends).all():
                raise UserError(
                    f"{file}: the prior of {name} is {each!r}, must be (lowest, highest) or a"
                    " distribution of scipy.stats"
                )
            if kinds.get(str(name), "continuous") == "continuous":
                each = stats.uniform(ends[0], ends[1] - ends[0])
            elif (ends == np.round(ends)).all():
                each = stats.randint(int(ends[0]), int(ends[1]) + 1)
            else:
                raise UserError(
                    f"{file}: the prior of {name} is {each!r}, and its ends must be whole numbers,"
                    f" as it is {kinds[str(name)]}"
                )
        found[str(name)] = each
    return found


def _drawn(path: str, n: int, *seed: int):
    """What the user's prior(n, rng) gives."""
    function = user_file.load(path).prior
    try:
        return function(n, _rng(OF_PRIOR, *seed))
    except Exception as error:
        raise UserError(user_file.place(error, path, function)) from error


def _columns(drawn) -> tuple[list[str], np.ndarray]:
    """Names and draws [n, P] of a dictionary, a DataFrame or an array."""
    if hasattr(drawn, "keys"):
        return [str(name) for name in drawn], np.stack(
            [np.asarray(drawn[name], np.float64) for name in drawn], 1
        )
    x = np.asarray(drawn, np.float64)
    x = x[:, None] if x.ndim == 1 else x
    return [f"x{i + 1}" for i in range(x.shape[1])], x


def _check_names(given, names, what: str) -> None:
    unknown = [name for name in given if name not in names]
    if unknown:
        raise UserError(f"{what} of {unknown[0]!r}, which the prior does not have")


def _bound(end) -> float | None:
    return None if end is None or not np.isfinite(end) else float(end)
