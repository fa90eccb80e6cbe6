"""LGI-Former: a video transformer with attention within regions and between region tokens.

16 images of 160 x 160 become 8 x 10 x 10 tokens in 8 regions of 2 x 5 x 10. Each region has one
additional token, the region token. In each block, the tokens of a region attend to each other, the
8 region tokens attend to each other, and all other tokens attend to the 8 region tokens.

Source: MAE-DFER (arXiv:2307.02227), section 3.2; names and sizes of tensors are those of the
published checkpoints (github.com/sunlicai/MAE-DFER, ``vit_base_dim512_no_depth_patch16_160``).
Letters: B clips, R regions, L tokens of a region without its region token, D width, H heads.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

IMAGES, SIDE = 16, 160  # images of a clip, and their side in pixels
TUBE = (2, 16, 16)  # size of a token: images, rows, columns
GRID = tuple(n // t for n, t in zip((IMAGES, SIDE, SIDE), TUBE, strict=True))  # (8, 10, 10)
REGION = (2, 5, 10)  # tokens of a region along each axis
REGIONS = tuple(n // r for n, r in zip(GRID, REGION, strict=True))  # (4, 2, 1)
HEAD_WIDTH = 64
EPS = 1e-6


class Expression(NamedTuple):
    """The output of the network for each clip."""

    vector: Tensor  # (B, D) normalised mean of the region tokens
    logits: Tensor  # (B, classes)


class Attention(nn.Module):
    """Multi-head attention with biases for queries and values, but not for keys."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(width, 2 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        """Let tokens (..., n, D) attend to (..., m, D); leading axes are the batch."""
        keys, values = self.kv(context).chunk(2, dim=-1)
        mixed = functional.scaled_dot_product_attention(
            _by_head(self.q(queries) + self.q_bias), _by_head(keys), _by_head(values + self.v_bias)
        )  # (..., H, n, 64)
        joined: Tensor = self.proj(mixed.transpose(-3, -2).flatten(-2))
        return joined


def _by_head(tokens: Tensor) -> Tensor:
    """Split the heads: (..., n, D) → (..., H, n, 64)."""
    return tokens.view(*tokens.shape[:-1], -1, HEAD_WIDTH).transpose(-3, -2)


class FeedForward(nn.Module):
    """Two linear layers with GELU between them; the inner width is four times the outer width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., D) → (..., D)."""
        return self.fc2(functional.gelu(self.fc1(tokens)))  # type: ignore[no-any-return]


class LocalGlobalBlock(nn.Module):
    """Attention within regions, between region tokens, and from all tokens to region tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first_attn_norm0 = nn.LayerNorm(width, eps=EPS)
        self.first_attn = Attention(width)
        self.second_attn_norm0 = nn.LayerNorm(width, eps=EPS)
        self.second_attn = Attention(width)
        self.third_attn_norm0 = nn.LayerNorm(width, eps=EPS)
        self.third_attn_norm1 = nn.LayerNorm(width, eps=EPS)
        self.third_attn = Attention(width)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = FeedForward(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, R, 1 + L, D) → the same shape; the region token comes first in its region."""
        tokens = self.within_regions(tokens)
        regional, local = tokens[:, :, 0], tokens[:, :, 1:]  # (B, R, D), (B, R, L, D)
        normed = self.second_attn_norm0(regional)
        regional = regional + self.second_attn(normed, normed)
        queries = self.third_attn_norm0(local.flatten(1, 2))  # (B, R * L, D)
        attended = self.third_attn(queries, self.third_attn_norm1(regional))
        local = local + attended.view_as(local)
        tokens = torch.cat([regional.unsqueeze(2), local], dim=2)
        return tokens + self.mlp(self.norm2(tokens))  # type: ignore[no-any-return]

    def within_regions(self, tokens: Tensor) -> Tensor:
        """Apply the first attention, which acts only within a region; keeps the shape."""
        normed = self.first_attn_norm0(tokens)
        return tokens + self.first_attn(normed, normed)  # type: ignore[no-any-return]


class PatchEmbedding(nn.Module):
    """Turn a clip into tokens with one 3-D convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(3, width, kernel_size=TUBE, stride=TUBE)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, 16, 160, 160) → (B, 800, D), row by row within a pair of images."""
        return self.proj(images).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]


class LgiFormer(nn.Module):
    """The fine-tuned encoder with its classifier."""

    def __init__(self, *, width: int = 512, depth: int = 16, classes: int = 7) -> None:
        super().__init__()
        regions = REGIONS[0] * REGIONS[1] * REGIONS[2]
        self.patch_embed = PatchEmbedding(width)
        self.lg_region_tokens = nn.Parameter(torch.zeros(regions, width))
        self.blocks = nn.ModuleList(LocalGlobalBlock(width) for _ in range(depth))
        self.fc_norm = nn.LayerNorm(width, eps=EPS)
        self.head = nn.Linear(width, classes)
        positions = sinusoids(GRID[0] * GRID[1] * GRID[2], width)
        # Computed and not trained, so checkpoints do not contain it.
        self.register_buffer("positions", positions, persistent=False)
        self.positions: Tensor

    def forward(self, images: Tensor) -> Expression:
        """Process a batch of clips.

        Args:
            images: (B, 3, 16, 160, 160), RGB, ImageNet-normalised.
        """
        tokens = self.regions(images)
        for block in self.blocks:
            tokens = block(tokens)
        vector = self.fc_norm(tokens[:, :, 0].mean(dim=1))
        return Expression(vector, self.head(vector))

    def regions(self, images: Tensor) -> Tensor:
        """Make the tokens by region, the region token first: (B, R, 1 + L, D)."""
        local = by_region(self.patch_embed(images) + self.positions)
        regional = self.lg_region_tokens.expand(len(local), -1, -1).unsqueeze(2)
        return torch.cat([regional, local], dim=2)


def by_region(tokens: Tensor) -> Tensor:
    """Group tokens: (B, 800, D) in reading order → (B, R, L, D), each region in reading order."""
    sizes = [n for pair in zip(REGIONS, REGION, strict=True) for n in pair]
    apart = tokens.reshape(len(tokens), *sizes, -1)  # (B, 4, 2, 2, 5, 1, 10, D)
    return apart.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4, 6).flatten(1, 3)


def sinusoids(count: int, width: int) -> Tensor:
    """Compute (count, width) positions: sines in even, cosines in odd columns, per frequency."""
    pairs = torch.arange(width, dtype=torch.float64) // 2
    angles = torch.arange(count, dtype=torch.float64)[:, None] / 10000.0 ** (2 * pairs / width)
    return torch.where(torch.arange(width) % 2 == 0, angles.sin(), angles.cos()).float()
