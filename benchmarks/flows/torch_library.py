"""What the PyTorch libraries share: Adam, batches, threads, and both forms, eager and compiled."""

import os
import time

import torch
from torch import nn

from flows import protocol

ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh, "gelu": nn.GELU}
TASKS = ("train", "log_prob", "sample")


class Conditioner(nn.Sequential):
    """The multilayer perceptron of a coupling, with the interface of nflows and normflows."""

    def __init__(self, inputs: int, outputs: int, hidden: list[int], activation: str):
        layers, width = [], inputs
        for units in hidden:
            layers += [nn.Linear(width, units), ACTIVATIONS[activation]()]
            width = units
        super().__init__(*layers, nn.Linear(width, outputs))
        self.hidden_features = width  # both divide the logits of the spline by its root

    def forward(self, x, context=None):
        return super().forward(x)


class TorchLibrary(protocol.Library):
    """A form is eager or compiled (`torch.compile` of loss, density and sampling, each for its
    fixed shape)."""

    def model(self, spec: dict) -> tuple[nn.Module, callable, callable]:
        """The module, log_prob(x) and sample(n)."""
        raise AssertionError("a library has models")

    def build(self, spec):
        torch._dynamo.reset()
        torch.manual_seed(spec["seed"])
        self.spec, recipe = spec, spec["recipe"]
        self.threads = {task: torch.get_num_threads() for task in TASKS} | spec.get("threads", {})
        module, self._log_prob, self._sample = self.model(spec)
        self._loss = lambda x, log_prob=self._log_prob: -log_prob(x).mean()
        if spec["form"] == "compiled":
            self._loss, self._log_prob, self._sample = (
                torch.compile(f, dynamic=False) for f in (self._loss, self._log_prob, self._sample)
            )
        self.weights = list(module.parameters())
        self.optimizer = torch.optim.Adam(
            self.weights, recipe["learning_rate"], (recipe["beta1"], recipe["beta2"]), fused=True
        )
        self.step, self.rows = 0, torch.from_numpy(self.data.train)
        self.batches = protocol.Batches(len(self.rows), spec["batch"], spec["seed"])
        return {"parameters": sum(w.numel() for w in self.weights), "chunk": 1}

    def train(self, steps):
        torch.set_num_threads(self.threads["train"])
        began = time.perf_counter()
        for index in torch.from_numpy(self.batches.take(steps)):
            self._train_one(self.rows[index])
        return time.perf_counter() - began

    def _train_one(self, x):
        recipe = self.spec["recipe"]
        self.optimizer.param_groups[0]["lr"] = protocol.rate(recipe, self.step)
        self.optimizer.zero_grad()
        self._loss(x).backward()
        if recipe["clip"]:
            nn.utils.clip_grad_norm_(self.weights, recipe["clip"])
        self.optimizer.step()
        self.step += 1

    def tune(self, points):
        """One thread or all, whichever does a short piece of the task faster."""
        pieces = {
            "train": lambda: self.train(3),
            "log_prob": lambda: self.log_prob(self.data.train[:points]),
            "sample": lambda: self.sample(points),
        }
        for task, piece in pieces.items():
            best = {}
            for threads in (1, os.cpu_count()) * 2:
                self.threads[task] = threads
                began = time.perf_counter()
                piece()
                best[threads] = min(best.get(threads, 1e9), time.perf_counter() - began)
            self.threads[task] = min(best, key=best.get)
        return {"threads": self.threads}

    @torch.no_grad()
    def log_prob(self, x):
        torch.set_num_threads(self.threads["log_prob"])
        return self._log_prob(torch.from_numpy(x)).numpy()

    @torch.no_grad()
    def sample(self, n):
        torch.set_num_threads(self.threads["sample"])
        return self._sample(n).numpy()
