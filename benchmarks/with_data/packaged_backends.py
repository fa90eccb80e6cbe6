"""CPU time of the backends from public packages against the builtin ones, on clips of yours.

Needs `redub weights get all`. Every clip of the folder is decoded once; then the two extractors of
a feature get the same frames, sound and features that they read (of the packaged profile). Prints
milliseconds of one core per second of film and the ratio, over the clips that both answer; the
times of one run, so look at the ratios. Extractors share work within a clip (a face found once);
here each does all of its own.

    python benchmarks/with_data/packaged_backends.py FOOTAGE
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

from redub.core.errors import FeatureAbsent
from redub.core.types import AudioSpec, ClipMedia, Value, VideoSpec
from redub.features.base import Extractor, WeightUser
from redub.features.registry import (
    BUILTIN,
    PROFILES,
    extractor_class,
    extractor_config,
    make_extractor,
    weights_optional,
    weights_wanted,
)
from redub.features.weights.packages import fetched
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.store.project import open_project
from redub.pipeline.store.tables import Store
from redub.pipeline.work.decoders import close_decoders
from redub.pipeline.work.executor import Scheduler
from redub.pipeline.work.extraction import Toolbox

COMPARED = (
    ("face_track", "mediapipe"),
    ("landmarks", "mediapipe"),
    ("landmarks", "face_api"),
    ("face_emotion", "face_api"),
    ("local_face", "face_api"),
    ("speech_level", "silero_vad"),
    ("speaker", "ge2e"),
)
NO_BUILTIN = {"landmarks"}  # the builtin backend never has a value
SPECS = {"audio": AudioSpec(), "video": VideoSpec()}


@cache
def extractor(name: str, backend: str) -> Extractor:
    config = extractor_config(name, backend=backend, **SPECS)
    if not issubclass(extractor_class(name, backend), WeightUser):
        return make_extractor(name, backend=backend, **SPECS)
    wanted = weights_wanted(name, config, backend) | weights_optional(name, config, backend)
    folders = {role: fetched(entry) for role, (entry, _) in wanted.items()}
    if None in folders.values():
        raise SystemExit("type `redub weights get all` first")
    return make_extractor(name, backend=backend, folders=folders, **SPECS)


def decoded(footage: Path, root: Path) -> list[ClipMedia]:
    (root / "redub.toml").write_text(f"[footage]\nroot = '{footage.resolve()}'\n")
    project = open_project(root)
    ingest(project, scheduler=Scheduler("sync", 1))
    tools = Toolbox(project)
    clips = []
    for clip in Store(project).clips():
        media = tools.decode(clip, frames=True, sound=True)
        clips.append(ClipMedia(clip=clip, frames=media.frames, waveform=media.waveform))
    close_decoders()
    return clips


class Inputs:
    """The features of one clip that others read, by the packaged profile, computed once."""

    def __init__(self, media: ClipMedia) -> None:
        self.media = media
        self._known: dict[str, Value | FeatureAbsent] = {}

    def of(self, reader: Extractor) -> dict[str, Value]:
        """Raises FeatureAbsent where one of them is absent."""
        return {name: self._value(name) for name in reader.reads}

    def _value(self, name: str) -> Value:
        if name not in self._known:
            maker = extractor(name, PROFILES["packaged"].get(name, BUILTIN))
            try:
                self._known[name] = maker.extract(replace(self.media, features=self.of(maker)))
            except FeatureAbsent as reason:
                self._known[name] = reason
        value = self._known[name]
        if isinstance(value, FeatureAbsent):
            raise value
        return value


def cpu_seconds(maker: Extractor, inputs: Inputs) -> float | None:
    """CPU time of one extraction, None where the feature is absent."""
    try:
        features = inputs.of(maker)
        media = replace(inputs.media, features=features, shared=type(inputs.media.shared)())
        began = time.process_time()
        maker.extract(media)
        return time.process_time() - began
    except FeatureAbsent:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("footage", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clips = decoded(options.footage, Path(folder))
    inputs = [Inputs(media) for media in clips]
    film_s = sum(len(media.frames) / 25 for media in clips if media.frames is not None)
    print(f"{len(clips)} clips, {film_s:.0f} s")
    print(f"{'feature':14}{'backend':12}{'clips':>6}{'builtin':>10}{'backend':>10}{'ratio':>8}")
    for name, backend in COMPARED:
        answered, film = 0, 0.0
        spent = {BUILTIN: 0.0, backend: 0.0}
        for place, one in enumerate([inputs[0], *inputs]):
            found = {kind: cpu_seconds(extractor(name, kind), one) for kind in spent}
            if name in NO_BUILTIN:
                found[BUILTIN] = 0.0
            if place and None not in found.values() and one.media.frames is not None:
                answered, film = answered + 1, film + len(one.media.frames) / 25
                for kind, seconds in found.items():  # not the first one, which loads the networks
                    spent[kind] += seconds or 0.0
        own, other = (1000 * seconds / film for seconds in spent.values())
        ratio = f"{other / own:8.2f}" if own else f"{'-':>8}"
        print(f"{name:14}{backend:12}{answered:6d}{own:10.2f}{other:10.2f}{ratio}", flush=True)


if __name__ == "__main__":
    main()
