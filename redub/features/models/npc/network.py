"""NPC: a small convolutional network that predicts a speech frame from the frames around it.

Each block widens the receptive field by one frame on both sides. A masked convolution follows each
block; its middle taps are 0, so a masked output does not depend on the frame itself or the frames
next to it.

Source: Non-Autoregressive Predictive Coding (arXiv:2011.00406); names and sizes of tensors are
those of s3prl's checkpoints. Letters: B batch, R rows (10 ms frames), C channels, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from redub.features.models.npc.fbank import FbankSpec

HEADS = (r"vq_layers\..*", r"postnet\..*", r"ae_bottleneck\..*")
"""Names of the pre-training heads' tensors; they predict the spectrogram and are not used."""

COUNTERS = (r".*\.num_batches_tracked",)


@dataclass(frozen=True, slots=True, kw_only=True)
class NpcSizes:
    """The settings in ``config.model.paras`` of a checkpoint on which the features depend."""

    channels: int = 80
    kernel_size: int = 15
    mask_size: int = 5
    n_blocks: int = 4
    hidden_size: int = 512
    residual: bool = True
    batch_norm: bool = True
    activate: str = "relu"
    disable_cross_layer: bool = False

    def hole(self, block: int) -> int:
        """Return the number of masked middle taps of a block's masked convolution."""
        return self.mask_size + 2 * (block + 1)


class NpcRows(NamedTuple):
    """The output of the network."""

    masked: Tensor  # (B, R, D) sum of the masked convolutions
    unmasked: Tensor  # (B, R, D) output of the last block


class ConvBlock(nn.Module):
    """A convolution over three frames and a linear layer, with a shortcut if ``shortcut``."""

    def __init__(self, width_in: int, sizes: NpcSizes, *, shortcut: bool) -> None:
        super().__init__()
        width = sizes.hidden_size
        self.shortcut = shortcut
        self.activate = nn.Tanh() if sizes.activate == "tanh" else nn.ReLU()
        self.conv = nn.Conv1d(width_in, width, kernel_size=3, padding=1)
        self.linear = nn.Conv1d(width, width, kernel_size=1)
        self.bn1 = nn.BatchNorm1d(width) if sizes.batch_norm else nn.Identity()
        self.bn2 = nn.BatchNorm1d(width) if sizes.batch_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, R) → (B, D, R)."""
        y = self.bn2(self.linear(self.activate(self.bn1(self.conv(x)))))
        out: Tensor = self.activate(y + x if self.shortcut else y)
        return out


class MaskedConv(nn.Module):
    """A convolution whose middle taps are masked; the mask is a tensor of the checkpoint."""

    conv_mask: Tensor | None

    def __init__(self, sizes: NpcSizes, hole: int) -> None:
        super().__init__()
        width, taps = sizes.hidden_size, sizes.kernel_size
        self.conv = nn.Conv1d(width, width, taps, padding=(taps - 1) // 2)
        mask = torch.ones_like(self.conv.weight)
        start = max(0, (taps - hole) // 2)
        mask[:, :, start : start + hole] = 0
        self.register_buffer("conv_mask", mask)

    def shut(self) -> None:
        """Multiply the weights by the mask once, and delete the mask.

        The masks of the public model are 60 MiB, nearly half of the file.
        """
        assert self.conv_mask is not None, "shut twice"
        with torch.no_grad():
            self.conv.weight.mul_(self.conv_mask)
        self.conv_mask = None

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, R) → (B, D, R)."""
        return torch.tanh(self.conv(x))


class Npc(nn.Module):
    """Blocks and their masked convolutions; call :meth:`shut` after the weights are loaded.

    ``front`` has the front end settings of the training, which are in the same file.
    """

    def __init__(self, sizes: NpcSizes, front: FbankSpec) -> None:
        super().__init__()
        self.front = front
        widths = [sizes.channels] + [sizes.hidden_size] * (sizes.n_blocks - 1)
        self.blocks = nn.ModuleList(
            ConvBlock(width, sizes, shortcut=sizes.residual and n > 0)
            for n, width in enumerate(widths)
        )
        first = sizes.n_blocks - 1 if sizes.disable_cross_layer else 0
        self.masked_convs = nn.ModuleDict(
            {str(n): MaskedConv(sizes, sizes.hole(n)) for n in range(first, sizes.n_blocks)}
        )

    def shut(self) -> Npc:
        """Apply the masks to the weights; see :meth:`MaskedConv.shut`."""
        for conv in self.masked_convs.values():
            assert isinstance(conv, MaskedConv)
            conv.shut()
        return self

    def forward(self, mel: Tensor, valid: Tensor) -> NpcRows:
        """Process a padded batch.

        Args:
            mel: (B, R, C) fbank rows; padding may hold anything.
            valid: (B, R) bool, True where the row belongs to the utterance.

        Returns:
            Rows (B, R, D). After each block padding is set to 0, as a convolution pads the end of a
            single utterance. Rows of padding have no meaning.
        """
        real = valid.unsqueeze(1)  # (B, 1, R)
        x = mel.transpose(1, 2) * real  # (B, C, R)
        masked: Tensor | None = None
        for n, block in enumerate(self.blocks):
            x = block(x) * real
            if str(n) in self.masked_convs:
                seen = self.masked_convs[str(n)](x)
                masked = seen if masked is None else masked + seen
        assert masked is not None  # the last block always has a masked convolution
        return NpcRows(masked.transpose(1, 2), x.transpose(1, 2))
