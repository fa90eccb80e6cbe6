"""The front end of a lip reader: one 3-D convolution over time, then a ResNet-18 on every frame.

Source: Martinez et al. 2020 (arXiv:2001.08702), figure 1; names and sizes of tensors are those of
the checkpoints of github.com/mpc001/Lipreading_using_Temporal_Convolutional_Networks.
Letters: B clips, V video frames, D channels, H and W map height and width.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Activation = Literal["prelu", "relu", "swish"]

WIDTHS = (64, 128, 256, 512)  # channels of the four layers
SIDE = 88  # pixels, of the mouth images
REACH = 2  # a frame's vector depends on this many frames on each side

BACK_END = (r"tcn\..*", r"tcn_output\..*")
"""Names of the word classifier's tensors in the published checkpoints; it is not used."""

COUNTERS = (r".*\.num_batches_tracked",)


class LipResNet(nn.Module):
    """Compute 512 numbers per frame from mouth images."""

    def __init__(self, activation: Activation) -> None:
        super().__init__()
        first = WIDTHS[0]
        self.frontend3D = nn.Sequential(
            nn.Conv3d(1, first, (5, 7, 7), stride=(1, 2, 2), padding=(REACH, 3, 3), bias=False),
            nn.BatchNorm3d(first),
            activated(activation, first),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
        )
        self.trunk = ResNet18(activation)

    def forward(self, images: Tensor) -> Tensor:
        """(B, V, 88, 88) normalised grey images → (B, V, 512)."""
        maps = self.frontend3D(images.unsqueeze(1))  # (B, 64, V, 22, 22)
        frames = maps.transpose(1, 2).flatten(0, 1)  # (B * V, 64, 22, 22)
        return self.trunk(frames).unflatten(0, images.shape[:2])  # type: ignore[no-any-return]


class ResNet18(nn.Module):
    """Four layers of two blocks: the image network ResNet-18 without its stem."""

    def __init__(self, activation: Activation) -> None:
        super().__init__()
        width_in = WIDTHS[0]
        for i, width in enumerate(WIDTHS, start=1):
            blocks = (Block(width_in, width, activation), Block(width, width, activation))
            self.add_module(f"layer{i}", nn.Sequential(*blocks))
            width_in = width

    def forward(self, maps: Tensor) -> Tensor:
        """(N, 64, H, W) → (N, 512), averaged over the map."""
        for i in range(1, len(WIDTHS) + 1):
            maps = self.get_submodule(f"layer{i}")(maps)
        return maps.mean(dim=(2, 3))


class Block(nn.Module):
    """Two 3 x 3 convolutions with a shortcut; a change of width halves height and width."""

    def __init__(self, width_in: int, width: int, activation: Activation) -> None:
        super().__init__()
        stride = 1 if width_in == width else 2
        self.conv1 = nn.Conv2d(width_in, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = activated(activation, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = activated(activation, width)
        self.downsample: nn.Sequential | None = None
        if width_in != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(width_in, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, maps: Tensor) -> Tensor:
        """(N, width_in, H, W) → (N, width, H', W')."""
        shortcut = maps if self.downsample is None else self.downsample(maps)
        inner = self.relu1(self.bn1(self.conv1(maps)))
        return self.relu2(self.bn2(self.conv2(inner)) + shortcut)  # type: ignore[no-any-return]


def activated(activation: Activation, width: int) -> nn.Module:
    """Make an activation layer; only PReLU has weights, one slope per channel."""
    if activation == "prelu":
        return nn.PReLU(width)
    return nn.ReLU() if activation == "relu" else nn.SiLU()


def normalised(mouths: Tensor) -> Tensor:
    """Crop the middle and normalise: (..., 96, 96) grey from 0 to 1 → (..., 88, 88).

    Mean 0.421 and standard deviation 0.165 are those of the repository of the lip readers.
    """
    edge = (mouths.shape[-1] - SIDE) // 2
    middle = mouths[..., edge : edge + SIDE, edge : edge + SIDE]
    return torch.div(middle - 0.421, 0.165)
