"""normflows: Glow as in its own example, without classes, and a flat Real NVP; nats, in units of
one level."""

import math
from functools import partial

import normflows
import torch
from flows import protocol
from flows.torch_library import Conditioner, TorchLibrary
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from images.library import ImageLibrary

LEVELS = 256
TILE = 100  # images of one evaluation


class NormflowsImages(ImageLibrary, TorchLibrary):
    packages = ("normflows", "torch")

    def load(self, images):
        """Images as its layers take them: channels first."""
        reply = super().load(images)
        self.data.train = self.data.train.transpose(0, 3, 1, 2).copy()
        return reply

    def build(self, spec):
        reply = super().build(spec)
        average = get_ema_multi_avg_fn(spec["ema"]) if spec["ema"] else None
        self.average = AveragedModel(self.flow, multi_avg_fn=average) if average else None
        return reply

    def model(self, spec):
        self.flow = (_glow if spec["model"] == "glow" else _flat)(spec)
        if spec["form"] == "channels_last":
            self.flow = self.flow.to(memory_format=torch.channels_last)
        return self.flow, partial(self._density, self.flow), None

    def _density(self, flow, pixels):
        """log p of uint8 pixels, with uniform noise on them, or of float levels [B, C, H, W]; nats,
        unit one level."""
        x = pixels if pixels.is_floating_point() else pixels + torch.rand(pixels.shape)
        x = x / LEVELS
        if self.spec["form"] == "channels_last":
            x = x.contiguous(memory_format=torch.channels_last)
        log_prob = (
            flow.log_prob(x, None) if self.spec["model"] == "glow" else flow.log_prob(x.flatten(1))
        )
        return log_prob - math.prod(self.spec["shape"]) * math.log(LEVELS)

    def _train_one(self, x):
        super()._train_one(x)
        if self.average:
            self.average.update_parameters(self.flow)

    @torch.no_grad()
    def log_prob(self, levels):
        """Of levels [n, H, W, C], by the averaged weights where there are any."""
        flow = self.average.module if self.average else self.flow
        rows = torch.from_numpy(levels.transpose(0, 3, 1, 2).copy())
        return torch.cat([self._density(flow, part) for part in rows.split(TILE)]).numpy()


def _glow(spec):
    """Its levels run from the latents to the image: the coarsest first, blocks before the
    squeeze."""
    (height, width, channels), blocks = spec["shape"], normflows.flows
    bases, flows, merges = [], [], []
    for squeezes in range(spec["levels"], 0, -1):
        inside, coarsest = channels * 2 ** (squeezes + 1), squeezes == spec["levels"]
        steps = [
            blocks.GlowBlock(inside, spec["hidden"][0], split_mode="channel")
            for _ in range(spec["depth"])
        ]
        flows.append([*steps, blocks.Squeeze()])
        if not coarsest:
            merges.append(blocks.Merge())
        bases.append(
            _base(
                spec, (inside if coarsest else inside // 2, height >> squeezes, width >> squeezes)
            )
        )
    return normflows.MultiscaleFlow(bases, flows, merges, class_cond=False)


def _base(spec, shape):
    """One mean and scale a channel, as in Glow, or one a dimension, as in its example."""
    made = normflows.distributions
    return made.GlowBase(shape) if spec["base"] == "channel" else made.DiagGaussian(shape)


def _flat(spec):
    """Its layers run from the latents to the image: a coupling, then a shuffle, then actnorm."""
    size, steps = math.prod(spec["shape"]), []
    for _ in range(spec["depth"]):
        network = Conditioner(size - size // 2, 2 * (size // 2), spec["hidden"], "relu")
        nn.init.zeros_(network[-1].weight)
        nn.init.zeros_(network[-1].bias)
        steps += [
            normflows.flows.AffineCouplingBlock(network),
            normflows.flows.Permute(size, "shuffle"),
            normflows.flows.ActNorm((size,)),
        ]
    return normflows.NormalizingFlow(
        normflows.distributions.DiagGaussian(size, trainable=False), steps
    )


if __name__ == "__main__":
    protocol.serve(NormflowsImages)
