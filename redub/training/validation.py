"""Losses on the validation utterances, with the averaged weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from redub.model.batch import FeatureWidths
from redub.model.registry import system_spec
from redub.training.data.batching import chosen, collate, plain_batches, recorded_frames
from redub.training.data.lines import FeatureScaler, Utterance
from redub.training.losses import Losses, losses_of
from redub.training.presets import TrainingConfig
from redub.training.step import Learner


def validation_losses(
    learner: Learner,
    lines: Sequence[Utterance],
    config: TrainingConfig,
    *,
    scaler: FeatureScaler,
    widths: FeatureWidths,
    device: str,
) -> dict[str, float]:
    """Mean losses over the recorded utterances; empty if no utterance has a recording.

    Returns:
        ``loss``, the weighted sum, and every unweighted term by its name.
    """
    frames = recorded_frames(lines)
    recorded = [number for number, count in enumerate(frames) if count]
    if not recorded:
        return {}
    sums = dict.fromkeys(("loss", *Losses._fields), 0.0)
    with learner.averaged() as model, torch.no_grad():
        for numbers in plain_batches([frames[number] for number in recorded], config.batching):
            batch = collate(
                chosen(lines, [recorded[number] for number in numbers]),
                scaler,
                widths,
                reference_frames=config.batching.reference_frames,
                context=system_spec(config.system).context,
            ).to(device)
            losses = losses_of(model(batch), batch, config.losses)
            values = {"loss": losses.total(config.losses), **losses._asdict()}
            for name, value in values.items():
                sums[name] += float(value) * len(numbers) / len(recorded)
    return sums
