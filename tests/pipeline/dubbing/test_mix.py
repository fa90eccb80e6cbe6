"""The dubbed track: utterances at their places, and the sum of two that sound together."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from redub.core.types import Clip, Waveform
from redub.pipeline.dubbing import mix
from redub.pipeline.store.settings import ProjectConfig


def test_two_speakers_at_the_same_time_are_added(monkeypatch):
    project = SimpleNamespace(config=ProjectConfig())
    audio = project.config.audio
    rate = audio.sample_rate_hz

    class Constant:
        """A vocoder whose 'mel' is a length in frames and a level."""

        def vocode(self, mel):
            samples = audio.sample_count(mel[0], project.config.video)
            return Waveform(np.full(samples, mel[1], dtype=np.float32), rate)

    monkeypatch.setattr(mix, "make_vocoder", lambda project: Constant())
    spans = [(0, 75), (50, 60)]  # the second begins later and ends earlier
    common = {"source": "x", "source_digest": "", "film": "", "scene": "", "position": 1}
    clips = [Clip(clip_id="x", start_frame=a, end_frame=b, **common) for a, b in spans]
    spoken = [SimpleNamespace(mel=(75, 0.25)), SimpleNamespace(mel=(10, 0.5))]
    track = mix.mixed_track(project, SimpleNamespace(duration_s=2.0), clips, spoken)
    assert len(track.samples) == 3 * rate  # the longest utterance is heard to its end
    at = [track.samples[round(second * rate)] for second in (1.0, 2.2, 2.7)]
    assert at == [0.25, 0.75, 0.25]
