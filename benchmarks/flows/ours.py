"""This project through its public functions: `fit` runs in a thread and waits in `on_epoch` for the
next command."""

import queue
import threading
import time

import flow_models as fm
from flow_models import fit
from flows import protocol

NAMES = {"realnvp": "realnvp", "maf": "maf", "spline": "spline_coupling"}
ENDLESS = 10**8  # steps of a run without a schedule; building a new model ends it


class Ended(Exception):
    """Raised inside `on_epoch` to leave `fit`."""


class Ours(protocol.Library):
    standardised = False
    packages = ("tensorflow", "tensorflow-probability")
    thread = None

    def build(self, spec):
        self._end()
        self.spec, self.orders, self.rows = spec, queue.Queue(), queue.Queue()
        self.clock = getattr(time, spec.get("clock", "perf_counter"))
        self.model = self.model_of(spec)
        parameters = sum(
            int(v.shape.num_elements()) for v in self.model.bijector.trainable_variables
        )
        return {"parameters": parameters, "chunk": spec["chunk"]}

    def model_of(self, spec):
        options = {key: spec[key] for key in ("depth", "hidden", "activation", "bound", "seed")}
        if spec["model"] == "spline":
            options |= {
                "bins": spec["bins"],
                "affine": spec.get("affine", False),
                "linear": spec.get("linear", False),
            }
        bijector = fm.architectures.build(
            NAMES[spec["model"]], 2, layers_per_loop_body=spec["layers_per_loop_body"], **options
        )
        return fm.Model(bijector)

    def train(self, steps):
        if self.thread is None:
            self.thread = threading.Thread(target=self._fit, daemon=True)
            self.thread.start()
        seconds = 0.0
        for _ in range(steps // self.spec["chunk"]):
            self.orders.put(True)
            result = self.rows.get()
            if isinstance(result, Exception):
                raise result
            seconds += result
        return seconds

    def _fit(self):
        recipe, validation = (
            self.spec["recipe"],
            self.data.validation if self.spec["validate"] else None,
        )
        settings = fm.FitSettings(
            steps=recipe["steps"] or ENDLESS,
            batch_size=self.spec["batch"],
            eval_every_steps=self.spec["chunk"],
            learning_rate=recipe["learning_rate"],
            schedule="cosine" if recipe["steps"] else "constant",
            warmup_steps=recipe["warmup"],
            beta1=recipe["beta1"],
            beta2=recipe["beta2"],
            clip_norm=recipe["clip"],
            ema=self.spec.get("ema", 0.0),
            microbatches=self.spec.get("shards", 1),
            seed=self.spec["seed"],
        )
        try:
            if self.orders.get():
                self.released = self.began = self.clock()  # start of the seconds of a row
                fit(
                    self.model,
                    self.data.train,
                    validation,
                    settings,
                    on_epoch=self._epoch_ended,
                    progress=False,
                )
        except Ended:
            pass
        except Exception as error:
            self.rows.put(error)

    def _epoch_ended(self, row):
        """Answers with the epoch's seconds, without those of the look at the validation data, and
        waits."""
        end = self.began + row["seconds"] if self.spec["validate"] else self.clock()
        self.objective, self.validation_nll = row["train_objective"], row.get("val_objective")
        self.rows.put(end - self.released)
        order = self.orders.get()
        self.released = self.clock()
        if not order:
            raise Ended

    def finish(self):
        """Lets `fit` come to its end after its last step: the model has the weights that it leaves
        there."""
        if self.thread is not None:
            self.orders.put(True)
            self.thread.join()
            self.thread = None

    def _end(self):
        if self.thread is not None:
            self.orders.put(False)
            self.thread.join(10)
            self.thread = None

    def log_prob(self, x):
        return self.model.log_prob(x)

    def sample(self, n):
        return self.model.sample(n)

    def nll(self):
        """Of the averaged weights, as `fit` looked at it after the last epoch."""
        return self.validation_nll


if __name__ == "__main__":
    protocol.serve(Ours)
