"""This project's image models through its public functions; training as in `flows.ours`, with `fit`
in a thread."""

import os

from flows import protocol
from flows.ours import Ours

import flow_models as fm
from flow_models import fit  # noqa: F401  loaded here, not in the time of the first step
from images import inversion
from images.library import ImageLibrary


class OurImages(ImageLibrary, Ours):
    packages = ("tensorflow", "tensorflow-probability")
    commands = (*ImageLibrary.commands, "drift", "trained")

    def model_of(self, spec):
        """Recipes of the paper's names; the training steps' noise is drawn inside the compiled
        step."""
        if spec.get("shards") == 0:
            spec["shards"] = len(os.sched_getaffinity(0))
        shape, codecs = tuple(spec["shape"]), {"x": fm.Pixels(*spec["shape"])}
        common = {
            "depth": spec["depth"],
            "hidden": spec["hidden"],
            "layers_per_loop_body": spec["layers_per_loop_body"],
            "seed": spec["seed"],
        }
        if spec["model"] == "flat":
            return fm.Model(fm.flat_realnvp(shape, **common), codecs=codecs)
        if spec["model"] in ("tarflow", "jet"):
            mixing = {"mixing": spec["mixing"]} if "mixing" in spec else {}
            recipe = getattr(fm.architectures, spec["model"])
            return fm.Model(recipe(shape, spec["levels"], **common, **mixing), codecs=codecs)
        glow = fm.glow_image(shape, spec["levels"], reversible=spec["reversible"], **common)
        return fm.Model(glow, codecs=codecs)

    def log_prob(self, x):
        """With the weights that `fit` leaves in the model: it must have come to its end."""
        self.finish()
        return self.model.log_prob(x)

    def trained(self):
        """Mean -log p of the pictures of the last epoch of training, nats."""
        return {"nats": self.objective}

    def drift(self, spec, steps):
        """See `inversion.measure`."""
        return inversion.measure(spec, self.data.train, steps)


if __name__ == "__main__":
    protocol.serve(OurImages)
