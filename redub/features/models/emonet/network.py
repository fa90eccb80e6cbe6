"""EmoNet: a face alignment network, and an emotion head with attention at the landmarks.

Two stacked hourglasses predict heat maps of 68 landmarks. Their features, weighted by the sum of
the last heat maps, go through four blocks to one vector, and from it to emotion classes, valence
and arousal.

Source: facts only. Toisoul et al. 2021 (Nature Machine Intelligence 3, 42-50) for EmoNet; Bulat and
Tzimiropoulos 2017 (arXiv:1703.07332) and its public network (BSD) for the alignment part. The
authors' code is CC BY-NC-ND and was not used. A :class:`Wiring` selects what these sources leave
open.
Letters: B face images, D width of the alignment features, E width of the vector, H and W height and
width of a map.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 256  # pixels, of the face images
MAP = 64  # side of the heat maps
LANDMARKS = 68
STACKS = 2
DEPTH = 4  # of an hourglass

COUNTERS = (r".*\.num_batches_tracked",)
"""Names of tensors that old files may lack: counters of training steps."""


class Wiring(NamedTuple):
    """Alternative connections of the same tensors; see ``docs/extractors/emonet.md``.

    Attributes:
        pooling: pooling in the alignment network; Bulat's network uses the average.
        tap: features of the first hourglass for the emotion head: those ``passed`` on to the second
            hourglass, or its ``own`` output, one convolution earlier.
        mask: whether the heat maps weight the features of the ``hourglasses`` or ``all`` features.
    """

    pooling: Literal["max", "average"] = "max"
    tap: Literal["passed", "own"] = "passed"
    mask: Literal["hourglasses", "all"] = "hourglasses"


class Sight(NamedTuple):
    """The network's outputs for each face image."""

    vector: Tensor  # (B, E)
    logits: Tensor  # (B, classes)
    affect: Tensor  # (B, 2) valence and arousal, about -1 to 1
    heat: Tensor  # (B, 68, 64, 64)


class Block(nn.Module):
    """Three 3 x 3 convolutions in a row; their concatenated outputs plus the input.

    They give a half, a quarter and a quarter of the output channels.
    """

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        half, quarter = width // 2, width // 4
        steps = ((width_in, half), (half, quarter), (quarter, quarter))
        for i, (before, after) in enumerate(steps, start=1):
            self.add_module(f"bn{i}", nn.BatchNorm2d(before))
            self.add_module(f"conv{i}", nn.Conv2d(before, after, 3, padding=1, bias=False))
        self.downsample: nn.Sequential | None = None
        if width_in != width:
            self.downsample = nn.Sequential(
                nn.BatchNorm2d(width_in), nn.ReLU(), nn.Conv2d(width_in, width, 1, bias=False)
            )

    def forward(self, maps: Tensor) -> Tensor:
        """(B, width_in, H, W) → (B, width, H, W)."""
        outputs, last = [], maps
        for i in (1, 2, 3):
            normed = self.get_submodule(f"bn{i}")(last)
            last = self.get_submodule(f"conv{i}")(normed.relu())
            outputs.append(last)
        shortcut = maps if self.downsample is None else self.downsample(maps)
        return torch.cat(outputs, dim=1) + shortcut


class Hourglass(nn.Module):
    """Four downsampling and four upsampling steps, with a block in the skip path of each step."""

    def __init__(self, width: int, pooling: str) -> None:
        super().__init__()
        self.pooling = pooling
        for level in range(1, DEPTH + 1):
            for name in ("b1", "b2", "b3"):
                self.add_module(f"{name}_{level}", Block(width, width))
        self.b2_plus_1 = Block(width, width)  # at the bottom

    def forward(self, maps: Tensor) -> Tensor:
        """(B, D, 64, 64) → (B, D, 64, 64)."""
        return self._level(DEPTH, maps)

    def _level(self, level: int, maps: Tensor) -> Tensor:
        skipped = self.get_submodule(f"b1_{level}")(maps)
        below = self.get_submodule(f"b2_{level}")(halved(maps, self.pooling))
        below = self._level(level - 1, below) if level > 1 else self.b2_plus_1(below)
        below = self.get_submodule(f"b3_{level}")(below)
        return skipped + functional.interpolate(below, scale_factor=2.0)  # type: ignore[no-any-return]


class EmoNet(nn.Module):
    """Predict landmarks and emotion of face images."""

    def __init__(
        self,
        *,
        width: int = 256,
        vector: int = 256,
        classes: int = 8,
        wiring: Wiring | None = None,
    ) -> None:
        super().__init__()
        self.wiring = wiring or Wiring()
        self.conv1 = nn.Conv2d(3, width // 4, kernel_size=7, stride=2, padding=3)
        self.bn1 = nn.BatchNorm2d(width // 4)
        self.conv2 = Block(width // 4, width // 2)
        self.conv3 = Block(width // 2, width // 2)
        self.conv4 = Block(width // 2, width)
        for i in range(STACKS):
            self.add_module(f"m{i}", Hourglass(width, self.wiring.pooling))
            self.add_module(f"top_m_{i}", Block(width, width))
            self.add_module(f"conv_last{i}", nn.Conv2d(width, width, 1))
            self.add_module(f"bn_end{i}", nn.BatchNorm2d(width))
            self.add_module(f"l{i}", nn.Conv2d(width, LANDMARKS, 1))
        self.bl0 = nn.Conv2d(width, width, 1)
        self.al0 = nn.Conv2d(LANDMARKS, width, 1)
        self.conv1x1_input_emo_2 = nn.Conv2d((1 + STACKS) * width, vector, 1)
        steps = [part for _ in range(4) for part in (Block(vector, vector), nn.MaxPool2d(2))]
        self.emo_net_2 = nn.Sequential(*steps)
        self.emo_fc_2 = nn.Sequential(
            nn.Linear(vector, vector // 2),
            nn.BatchNorm1d(vector // 2),
            nn.ReLU(),
            nn.Linear(vector // 2, classes + 2),
        )

    def forward(self, images: Tensor) -> Sight:
        """Process a batch of face images.

        Args:
            images: (B, 3, 256, 256), RGB from 0 to 1.
        """
        first = self._stem(images)
        own0, heat0 = self._stack(0, first)
        passed0 = self.bl0(own0)
        own1, heat = self._stack(1, first + passed0 + self.al0(heat0))
        stacks = torch.cat([passed0 if self.wiring.tap == "passed" else own0, own1], dim=1)
        weight = heat.sum(dim=1, keepdim=True)  # (B, 1, 64, 64)
        if self.wiring.mask == "all":
            seen = torch.cat([first, stacks], dim=1) * weight
        else:
            seen = torch.cat([first, stacks * weight], dim=1)
        maps = self.emo_net_2(self.conv1x1_input_emo_2(seen))  # (B, E, 4, 4)
        vector = maps.mean(dim=(2, 3))
        outputs = self.emo_fc_2(vector)
        return Sight(vector, outputs[:, :-2], outputs[:, -2:], heat)

    def _stem(self, images: Tensor) -> Tensor:
        """(B, 3, 256, 256) → (B, D, 64, 64)"""
        maps = self.bn1(self.conv1(images)).relu()
        maps = halved(self.conv2(maps), self.wiring.pooling)
        return self.conv4(self.conv3(maps))  # type: ignore[no-any-return]

    def _stack(self, i: int, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, D, 64, 64) and heat maps (B, 68, 64, 64) of one hourglass."""
        maps = self.get_submodule(f"top_m_{i}")(self.get_submodule(f"m{i}")(maps))
        own = self.get_submodule(f"bn_end{i}")(self.get_submodule(f"conv_last{i}")(maps)).relu()
        return own, self.get_submodule(f"l{i}")(own)


def halved(maps: Tensor, pooling: str) -> Tensor:
    """Halve height and width by pooling: (B, D, H, W) → (B, D, H/2, W/2)."""
    return functional.max_pool2d(maps, 2) if pooling == "max" else functional.avg_pool2d(maps, 2)


def peaks(heat: Tensor) -> Tensor:
    """Locate the maximum of each heat map: (B, 68, 2) x and y as fractions of the image's side."""
    place = heat.flatten(2).argmax(dim=2)  # (B, 68)
    columns_rows = torch.stack([place % MAP, place // MAP], dim=2)
    return (columns_rows.float() + 0.5) / MAP


class Misfit(NamedTuple):
    """RMS over layers and channels of the difference of means, in standard deviations."""

    alignment: float  # depends only on pooling
    head: float  # depends also on tap and mask


def misfit(network: EmoNet, images: Tensor) -> Misfit:
    """Measure how far layer inputs are from the batch normalisation statistics of the file.

    Every batch normalisation stores the mean and variance of its inputs in training. With faces as
    input, a network with the right wiring reproduces these numbers, and one with another wiring
    does not. So the weights alone show which wiring is right.

    Args:
        images: (B, 3, 256, 256) faces; many different faces give a better estimate.
    """
    off: dict[str, Tensor] = {}

    def compare(name: str, layer: nn.Module, given: tuple[Tensor]) -> None:
        """Store the squared difference of the means of one layer, in variances."""
        assert isinstance(layer, nn.BatchNorm2d)
        expected, variance = layer.running_mean, layer.running_var
        assert expected is not None
        assert variance is not None
        found = given[0].mean(dim=(0, 2, 3))
        off[name] = ((found - expected) ** 2 / (variance + layer.eps)).mean()

    handles = [
        layer.register_forward_pre_hook(partial(compare, name))
        for name, layer in network.named_modules()
        if isinstance(layer, nn.BatchNorm2d)
    ]
    try:
        with torch.inference_mode():
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    head = [value for name, value in off.items() if name.startswith("emo_net_2.")]
    alignment = [value for name, value in off.items() if not name.startswith("emo_net_2.")]
    return Misfit(*(float(torch.stack(part).mean().sqrt()) for part in (alignment, head)))
