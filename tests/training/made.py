"""Lines of random features with a planted order: the mel follows from phoneme and pitch."""

import math
from dataclasses import replace

import numpy as np

from redub.core.types import AudioSpec
from redub.model.systems.authentic_dubber import TINY
from redub.training import trainer
from redub.training.data.batching import BatchingConfig
from redub.training.data.lines import AdjacentUtterance, FeatureScaler, Hits, Utterance
from redub.training.job import TrainCallbacks, TrainJob
from redub.training.presets import TrainingConfig
from redub.training.schedule import NoamSchedule
from redub.training.step import OptimiserConfig

SOUND = AudioSpec(mel_channels=12)
WIDTH = {"scene": 4, "face": 5, "text": 6}

SMALL = replace(
    TINY,
    width=16,
    filter_width=16,
    dropout=0.1,
    phoneme_layers=1,
    voice_channels=(4, 4, 4, 4),
    cross_width=8,
    cross_filter_width=8,
    lip_width=8,
    decoder_layers=1,
    postnet_channels=4,
)

# Settings under which a few steps change something.
QUICK = TrainingConfig(
    batching=BatchingConfig(frames_per_batch=60, lines_per_batch=4, reference_frames=16),
    optimiser=OptimiserConfig(
        schedule=NoamSchedule(multiplier=0.02, warmup_steps=10), ema_decay=0.9
    ),
    validate_every=4,
    checkpoint_every=5,
    keep_last=2,
)


def make_line(
    number, *, video_frames=4, phoneme_count=5, hit_count=2, reference_frames=20, **changes
):
    random = np.random.default_rng(number)

    def normal(*shape):
        return random.normal(3.0, 2.0, shape).astype(np.float32)

    frames = 4 * video_frames
    durations = np.full(phoneme_count, frames // phoneme_count)
    durations[0] += frames - durations.sum()
    ids = random.integers(1, 20, phoneme_count)
    emotion = int(random.integers(8))
    mel = np.repeat(np.sin(np.outer(ids, np.arange(1, 13))), durations, axis=0) - 5
    values = {
        "clip_id": f"clip{number}",
        "speaker": f"speaker{number % 2}",
        "phonemes": ids,
        "mel_frames": frames,
        "speaker_vector": normal(3),
        "reference_mels": [normal(reference_frames, 12), normal(reference_frames + 7, 12)],
        "lips": normal(video_frames, 5),
        "durations": durations,
        "mel": mel.astype(np.float32),
        "f0_hz": (random.uniform(90, 300, frames) * (random.random(frames) > 0.3)).astype(
            np.float32
        ),
        "energy": random.uniform(0, 20, frames).astype(np.float32),
        "emotion": emotion,
        "vectors": {name: normal(width) for name, width in WIDTH.items()},
        "hits": {
            name: Hits(
                vectors=normal(hit_count, width),
                audio=normal(hit_count, 7),
                scores=np.linspace(0.9, 0.5, hit_count).astype(np.float32),
            )
            for name, width in WIDTH.items()
        },
    }
    return Utterance(**{**values, **changes})


def make_lines():
    return [make_line(number, video_frames=3 + number % 4) for number in range(10)]


def best_guess(lines):
    """Mean mel and emotion losses of who knows these lines together and cannot tell them apart."""
    mels = FeatureScaler.fit(make_lines()).apply("mel", np.concatenate([n.mel for n in lines]))
    constant = float(np.abs(mels - np.median(mels, axis=0)).mean())
    shares = np.bincount([line.emotion for line in lines]) / len(lines)
    return constant, -sum(share * math.log(share) for share in shares if share)


def in_context(lines, *, seed=9):
    """The lines as a scene: each has its adjacent lines, and has a face and a sound of its own."""
    random = np.random.default_rng(seed)

    def normal(*shape):
        return random.normal(2.0, 1.5, shape).astype(np.float32)

    own = [
        replace(line, local_face=normal(len(line.lips), 4), sound=normal(line.mel_frames, 6))
        for line in lines
    ]
    adjacent = [
        AdjacentUtterance(
            phonemes=line.phonemes,
            lips=line.lips,
            local_face=line.local_face,
            sound=line.sound,
            mel=line.mel,
            f0_hz=line.f0_hz[:, None],
            energy=line.energy[:, None],
            global_features={"face": normal(3), "text": normal(5), "audio": normal(4)},
        )
        for line in own
    ]
    sides = [{} for _ in own]
    for place in range(1, len(own)):
        sides[place]["previous"] = adjacent[place - 1]
        sides[place - 1]["following"] = adjacent[place]
    return [replace(line, context=side) for line, side in zip(own, sides, strict=True)]


CALLBACKS = ("began", "progress", "stop", "show", "observe", "guard")


def train(lines_train, lines_validation, config, run_dir, **options):
    """:func:`redub.training.trainer.train` with the job's and the callbacks' fields as options."""
    callbacks = {name: options.pop(name) for name in CALLBACKS if name in options}
    of_job = ("model_config", "audio", "keys", "device")
    job = TrainJob(
        lines_train=lines_train,
        lines_validation=lines_validation,
        config=config,
        run_dir=run_dir,
        **{name: options.pop(name) for name in of_job if name in options},
    )
    return trainer.train(job, callbacks=TrainCallbacks(**callbacks), **options)
