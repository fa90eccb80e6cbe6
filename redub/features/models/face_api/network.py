"""Two networks of face-api with the same body: seven expressions, and 68 landmarks.

The body has four dense blocks of separable convolutions. Source: facts of the public project
face-api.js (MIT): sizes, names of tensors, input 112 x 112 RGB less a mean colour, divided by 255,
TensorFlow's padding; landmarks are x, y of each point in turn, as a fraction of the square image.
Letters: N images.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from redub.core.types import FloatArray

SIDE = 112
MEAN_COLOUR = (122.782, 117.001, 104.298)  # red, green, blue
WIDTHS = (32, 64, 128, 256)
CLASSES = 7
LANDMARKS = 68


class FaceOutputs(NamedTuple):
    """Outputs for N images: (N, 256) values before the last layer, and those of the last layer."""

    vector: Tensor
    last: Tensor


class Convolution(nn.Module):
    """A 3 x 3 convolution with TensorFlow's padding: for a stride of 2, at the end only."""

    def __init__(self, channels: int, width: int, *, stride: int, separable: bool = True) -> None:
        super().__init__()
        self.stride = stride
        self.pointwise: nn.Module = nn.Identity()
        if separable:
            self.spatial = nn.Conv2d(channels, channels, 3, stride, groups=channels, bias=False)
            self.pointwise = nn.Conv2d(channels, width, 1)
        else:
            self.spatial = nn.Conv2d(channels, width, 3, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, side, side) → (N, width, side / stride, side / stride)."""
        before = 1 if self.stride == 1 else 0
        padded = functional.pad(x, (before, 1, before, 1))
        made: Tensor = self.pointwise(self.spatial(padded))
        return made


class DenseBlock(nn.Module):
    """Four convolutions; each after the first reads the rectified sum of all before it."""

    def __init__(self, channels: int, width: int, *, first: bool) -> None:
        super().__init__()
        self.conv0 = Convolution(channels, width, stride=2, separable=not first)
        self.conv1 = Convolution(width, width, stride=1)
        self.conv2 = Convolution(width, width, stride=1)
        self.conv3 = Convolution(width, width, stride=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, side, side) → (N, width, side / 2, side / 2)."""
        total = seen = torch.relu(self.conv0(x))
        for convolution in (self.conv1, self.conv2, self.conv3):
            total = total + convolution(seen)
            seen = torch.relu(total)
        return seen


class DenseFaceNet(nn.Module):
    """The dense blocks and one last layer.

    Args:
        outputs: 7 logits of the expressions, or 136 coordinates.
    """

    def __init__(self, outputs: int) -> None:
        super().__init__()
        channels = (3, *WIDTHS)
        for i, width in enumerate(WIDTHS):
            self.add_module(f"dense{i}", DenseBlock(channels[i], width, first=i == 0))
        self.fc = nn.Linear(WIDTHS[-1], outputs)

    def forward(self, images: Tensor) -> FaceOutputs:
        """Read (N, 112, 112, 3) RGB images, 0 to 1."""
        mean = torch.tensor(MEAN_COLOUR, dtype=torch.float32, device=images.device)
        x = (images - mean / 255.0).permute(0, 3, 1, 2)
        for i in range(len(WIDTHS)):
            x = getattr(self, f"dense{i}")(x)
        vector = x.mean(dim=(2, 3))  # an average over all 7 x 7 places
        return FaceOutputs(vector, self.fc(vector))


def state_of(tensors: Mapping[str, FloatArray]) -> dict[str, Tensor]:
    """Rename and transpose the tensors of TensorFlow.js to those of :class:`DenseFaceNet`.

    An unknown name or number of axes is kept as it is, for strict loading to name.
    """
    state = {}
    for name, values in tensors.items():
        block, _, last = name.rpartition("/")
        own = block.replace("/", ".")
        tensor = torch.from_numpy(values)
        separable = f"{block}/pointwise_filter" in tensors
        key, axes = {
            "filters": ("spatial.weight", (3, 2, 0, 1)),
            "depthwise_filter": ("spatial.weight", (2, 3, 0, 1)),
            "pointwise_filter": ("pointwise.weight", (3, 2, 0, 1)),
            "weights": ("weight", (1, 0)),
            "bias": (_bias_of(own, separable), (0,)),
        }.get(last, (last, ()))
        turned = tensor.permute(axes) if len(axes) == tensor.ndim else tensor
        state[f"{own}.{key}" if own else key] = turned.contiguous()
    return state


def _bias_of(block: str, separable: bool) -> str:
    if block == "fc":
        return "bias"
    return "pointwise.bias" if separable else "spatial.bias"
