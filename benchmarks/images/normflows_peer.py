"""normflows: Glow as in its own example, without classes, and a flat Real NVP; pixels to nats in the unit of one level."""

import math
from functools import partial

import normflows
import torch
from torch import nn

from flows import protocol
from flows.torch_library import Conditioner, TorchLibrary
from images.library import ImageLibrary

LEVELS = 256


class Normflows(ImageLibrary, TorchLibrary):
    packages = ("normflows", "torch")

    def load(self, images):
        """Images as its layers take them: channels first."""
        reply = super().load(images)
        self.data.train = self.data.train.transpose(0, 3, 1, 2).copy()
        return reply

    def model(self, spec):
        flow = (_glow if spec["model"] == "glow" else _flat)(spec)
        if spec["form"] == "channels_last":
            flow = flow.to(memory_format=torch.channels_last)
        flow.eval() if spec.get("evaluate") else flow.train()
        return flow, partial(self._density, flow, spec), lambda n: flow.sample(n)[0]

    def _density(self, flow, spec, pixels):
        """log p of uint8 pixels, with uniform noise on them, or of float levels [B, C, H, W]; nats, unit one level."""
        x = pixels if pixels.is_floating_point() else pixels + torch.rand(pixels.shape)
        x = x / LEVELS
        if spec["form"] == "channels_last":
            x = x.contiguous(memory_format=torch.channels_last)
        log_prob = flow.log_prob(x, None) if spec["model"] == "glow" else flow.log_prob(x.flatten(1))
        return log_prob - math.prod(spec["shape"]) * math.log(LEVELS)

    def log_prob(self, levels):
        rows = torch.from_numpy(levels.transpose(0, 3, 1, 2).copy())
        with torch.no_grad():
            return torch.cat([self._log_prob(part) for part in rows.split(250)]).numpy()


def _glow(spec):
    """Levels of squeeze, `depth` Glow blocks and split; channels of the finest level first in our order, last in its."""
    (height, width, channels), levels = spec["shape"], spec["levels"]
    bases, flows, merges = [], [], []
    for i in range(levels):
        deep = levels - i  # squeezes in front of this level's blocks: coarsest first
        inside = channels * 2 ** (deep + 1)
        blocks = [normflows.flows.GlowBlock(inside, spec["hidden"][0], split_mode="channel", scale=True)
                  for _ in range(spec["depth"])]  # fmt: skip
        flows.append([*blocks, normflows.flows.Squeeze()])
        if i:
            merges.append(normflows.flows.Merge())
        bases.append(_base(spec, (inside // 2 if i else inside, height >> deep, width >> deep)))
    return normflows.MultiscaleFlow(bases, flows, merges, class_cond=False)


def _base(spec, shape):
    """One mean and scale a channel, as in Glow, or one a dimension, as in normflows' example."""
    made = normflows.distributions
    return made.GlowBase(shape) if spec["base"] == "channel" else made.DiagGaussian(shape)


def _flat(spec):
    size = math.prod(spec["shape"])
    steps = []
    for _ in range(spec["depth"]):
        network = Conditioner(size - size // 2, 2 * (size // 2), spec["hidden"], "relu")
        nn.init.zeros_(network[-1].weight)
        nn.init.zeros_(network[-1].bias)
        steps += [normflows.flows.AffineCouplingBlock(network), normflows.flows.Permute(size, "swap")]
    return normflows.NormalizingFlow(normflows.distributions.DiagGaussian(size, trainable=False), steps)


if __name__ == "__main__":
    protocol.serve(Normflows)
