"""The spatial-temporal convolution connector of VideoLLaMA 2, from vision tower to language model.

It has two stages of four RegNet blocks over single frames, with a 3-D convolution between them that
halves time, height and width; then two linear layers.
Source: VideoLLaMA 2 (arXiv:2406.07476), §2.1 "Spatial-Temporal Convolution Connector"; the blocks
are those of RegNet (arXiv:2003.13678) with squeeze-and-excitation and depth-wise 3 x 3 convolution.
Letters: B clips, V frames, H and W patch rows and columns, C channels, L visual tokens, D width of
the language model.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

DEPTH = 4  # blocks per stage
EXCITED = 0.25  # width of the squeeze, as a fraction of the block's input channels
EPS = 1e-5


class ConvNorm(nn.Module):
    """Convolution without bias, layer norm over the channels, SiLU unless ``linear``."""

    def __init__(
        self, inputs: int, outputs: int, size: int, *, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups, bias=False)
        self.bn = nn.LayerNorm(outputs, eps=EPS)  # the name in checkpoints; not a batch norm
        self.linear = linear

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H, W)."""
        maps = self.bn(self.conv(maps).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return maps if self.linear else functional.silu(maps)


class Excitation(nn.Module):
    """Squeeze-and-excitation: a gate per channel, computed from the mean over the frame."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C, H, W)."""
        squeezed = functional.silu(self.fc1(maps.mean((2, 3), keepdim=True)))
        gate: Tensor = self.fc2(squeezed).sigmoid()
        return maps * gate


class Block(nn.Module):
    """RegNet bottleneck: point-wise, depth-wise 3 x 3, gate, point-wise, plus shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inputs, outputs, 1)
        self.conv2 = ConvNorm(outputs, outputs, 3, groups=outputs)
        self.se = Excitation(outputs, round(inputs * EXCITED))
        self.conv3 = ConvNorm(outputs, outputs, 1, linear=True)
        self.downsample = (
            nn.Identity() if inputs == outputs else ConvNorm(inputs, outputs, 1, linear=True)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C', H, W)."""
        inner = self.conv3(self.se(self.conv2(self.conv1(maps))))
        return functional.silu(inner + self.downsample(maps))


class Stage(nn.Module):
    """Four blocks in a row, named b1 to b4."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        for k in range(DEPTH):
            self.add_module(f"b{k + 1}", Block(outputs if k else inputs, outputs))

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C', H, W)."""
        for block in self.children():
            maps = block(maps)
        return maps


class StcConnector(nn.Module):
    """Turn the patch features of a clip into visual tokens for the language model.

    ``padding`` of the 3-D convolution is 1 in ``stc_connector`` and 0 in ``stc_connector_v35``.
    """

    def __init__(self, inputs: int, width: int, *, padding: int) -> None:
        super().__init__()
        self.s1 = Stage(inputs, width)
        # A Sequential with one layer, because checkpoints name the convolution ``sampler.0``.
        self.sampler = nn.Sequential(
            nn.Conv3d(width, width, kernel_size=2, stride=2, padding=padding)
        )
        self.s2 = Stage(width, width)
        self.readout = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, patches: Tensor) -> Tensor:
        """Mix and downsample the patches of each clip.

        Args:
            patches: (B, V, H, W, C), features of the patches of every frame.

        Returns:
            (B, L, D), ordered by frame, then by row. L is V'·H'·W' with n' = (n + 2 · padding) // 2
            for each of V, H and W: 8 frames of 24 x 24 give 5·13·13 = 845.
        """
        clips, frames = patches.shape[:2]
        maps = self.s1(patches.flatten(0, 1).permute(0, 3, 1, 2))  # (B·V, D, H, W)
        volumes = maps.unflatten(0, (clips, frames)).transpose(1, 2)  # (B, D, V, H, W)
        volumes = functional.silu(self.sampler(volumes))
        frames = volumes.size(2)
        maps = self.s2(volumes.transpose(1, 2).flatten(0, 1))  # (B·V', D, H', W')
        tokens = maps.unflatten(0, (clips, frames)).permute(0, 1, 3, 4, 2).flatten(1, 3)
        read: Tensor = self.readout(tokens)
        return read
