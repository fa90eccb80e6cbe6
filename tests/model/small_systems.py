"""What every system of the line promises, asked of small ones."""

from dataclasses import replace

import pytest
import torch

from redub.model.systems.authentic_dubber import TINY, AuthenticDubber
from redub.model.systems.fastspeech2 import FastSpeech2
from redub.model.systems.style_dubber import StyleDubber
from redub.training.losses import losses_of, masked_l1

SMALL_SIZES = {
    "width": 16,
    "filter_width": 24,
    "voice_channels": (8, 8, 8, 8),
    "cross_width": 8,
    "cross_filter_width": 12,
    "lip_width": 8,
    "decoder_layers": 2,
    "postnet_channels": 8,
}
PUBLISHED = {
    "prosody": False,
    "duration_reads_text": False,
    "lips_in_frames": False,
}
SMALL = {
    AuthenticDubber: replace(TINY, **SMALL_SIZES),
    StyleDubber: replace(StyleDubber.PRESETS["tiny"], **SMALL_SIZES, face_channels=(8, 8)),
    FastSpeech2: replace(
        FastSpeech2.PRESETS["tiny"], width=16, filter_width=24, decoder_layers=2, postnet_channels=8
    ),
}
VARIANTS = [
    (AuthenticDubber, {}),
    (AuthenticDubber, {"graph": "none"}),
    (AuthenticDubber, {"graph": "single", "aggregation": "flat"}),
    (AuthenticDubber, {"retrieve": ()}),
    (AuthenticDubber, {"retrieve": ("face",), "sound_node": "hit"}),
    (AuthenticDubber, {**PUBLISHED, "score_aware": False}),
    (AuthenticDubber, {"legacy": ("double_softmax", "causal_mask", "no_positions")}),
    (StyleDubber, {}),
    (StyleDubber, {**PUBLISHED, "legacy": ("causal_mask", "no_positions")}),
    (FastSpeech2, {}),
]
NAMES = [f"{kind.__name__}-{'-'.join(changes) or 'plain'}" for kind, changes in VARIANTS]


def build(kind, widths, changes=None, seed=0):
    torch.manual_seed(seed)
    return kind(replace(SMALL[kind], **(changes or {})), widths)


def by_heart(kinds, fast):
    """The systems as parameters; those whose learning costs most are slow."""
    return [kind if kind in fast else pytest.param(kind, marks=pytest.mark.slow) for kind in kinds]


def difference(one, other):
    return float((one - other).detach().abs().max())


NOISE = 3e-8
"""As a share of the largest gradient: where the true one is 0, float32 leaves up to 1e-9; of
three that are not 0 the largest was 8e-7 at least."""


def has_no_effect(name):
    """A key's bias adds the same to all scores of a softmax, which takes it away again."""
    return name.endswith(".to_key.bias")


def that_matter(gradients):
    """Names of the gradients that are no rounding noise beside the largest one."""
    sizes = {
        name: 0.0 if gradient is None else float(gradient.abs().max())
        for name, gradient in gradients.items()
    }
    most = max(sizes.values())
    return {name for name, size in sizes.items() if size > 0 and size >= NOISE * most}


def idle_parameters(losses_at):
    """Names of the parameters whose gradient is rounding noise or absent.

    A gradient may be small by chance, so three starting points are tried.

    Args:
        losses_at: makes a system and its total loss from the seed of its initial weights.
    """
    learning = set()
    for seed in range(3):
        system, total = losses_at(seed)
        total.backward()
        learning |= that_matter({name: p.grad for name, p in system.named_parameters()})
    return {name for name, _ in system.named_parameters()} - learning


def learnt_by_heart(system, batch, weights, *, most=500):
    """Mel distances in evaluation, every 25 steps, until one is below 0.1."""
    optimizer = torch.optim.Adam(system.parameters(), lr=6e-3)
    distances = []
    for step in range(most + 1):
        if step % 25 == 0:
            system.eval()
            with torch.no_grad():
                said = system(batch).mel_post
            distances.append(float(masked_l1(said, batch.mel, batch.frames_valid)))
            if distances[-1] < 0.1:
                break
            system.train()
        optimizer.zero_grad()
        losses_of(system(batch), batch, weights).total(weights).backward()
        torch.nn.utils.clip_grad_norm_(system.parameters(), 1.0)
        optimizer.step()
    return distances
