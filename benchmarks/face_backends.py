"""Faces of the packaged profile (MediaPipe) against the builtin cascades, on the demo film.

Prints CPU milliseconds per frame of one core for each face feature, the ratio of the two face
tracks, and the share of clips and searched frames with a face. One run; look at the ratios. The
film is drawn, so the shares say nothing about real faces: docs/extractors/mediapipe_face.md has
figures on recordings. Needs `redub weights get mediapipe_face`.

    python benchmarks/face_backends.py [--scenes 3] [--lines 8]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from redub.core.errors import FeatureAbsent
from redub.core.types import ClipMedia, Value
from redub.features.base import Extractor
from redub.features.face.track import FaceTrackConfig, FaceTrackExtractor
from redub.features.models.mediapipe_face.landmarks import (
    MediaPipeLandmarkConfig,
    MediaPipeLandmarks,
)
from redub.features.models.mediapipe_face.track import MediaPipeTrack, MediaPipeTrackConfig
from redub.features.mouth.crop import MouthCropConfig, MouthCropExtractor
from redub.features.runtime import Runtime
from redub.features.weights.folder import WeightFolder
from redub.features.weights.packages import fetched
from redub.footage.demo_film import FilmSpec, make_film
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.store.project import open_project
from redub.pipeline.store.tables import Store
from redub.pipeline.work.decoders import close_decoders
from redub.pipeline.work.executor import Scheduler
from redub.pipeline.work.extraction import Toolbox

Chain = dict[str, Extractor]


def chains(weights: WeightFolder) -> dict[str, Chain]:
    """Backend → feature → extractor; each feature reads those before it."""
    track = MediaPipeTrack(MediaPipeTrackConfig(fallback="none"), {"mediapipe": weights}, Runtime())
    points = MediaPipeLandmarks(MediaPipeLandmarkConfig(), {"model": weights}, Runtime())
    mouths = MouthCropExtractor(MouthCropConfig())
    return {
        "builtin": {"face_track": FaceTrackExtractor(FaceTrackConfig()), "mouth_crop": mouths},
        "mediapipe": {"face_track": track, "landmarks": points, "mouth_crop": mouths},
    }


def film(root: Path, scenes: int, lines: int) -> list[ClipMedia]:
    """The decoded clips of a demo film."""
    spec = FilmSpec(seed=7, scenes=scenes, lines_per_scene=lines)
    make_film(root / "footage", root / "truth", spec, workers=2)
    (root / "redub.toml").write_text('[footage]\nroot = "footage"\n')
    project = open_project(root)
    ingest(project, scheduler=Scheduler("sync", 1))
    tools = Toolbox(project)
    clips = []
    for clip in Store(project).clips():
        decoded = tools.decode(clip, frames=True, sound=False)
        clips.append(ClipMedia(clip=clip, frames=decoded.frames))
    close_decoders()
    return clips


def run(chain: Chain, clips: list[ClipMedia]) -> tuple[dict[str, float], list[float]]:
    """CPU seconds per feature, and the share of searched frames with a face per clip with one."""
    seconds: dict[str, float] = defaultdict(float)
    shares = []
    for i, clip in enumerate([clips[0], *clips]):
        known: dict[str, Value] = {}
        media = replace(clip, shared=type(clip.shared)())  # nothing kept from another backend
        for name, extractor in chain.items():
            began = time.process_time()
            try:
                known[name] = extractor.extract(replace(media, features=dict(known)))
            except FeatureAbsent:
                break
            finally:
                if i:  # the first pass loads the networks
                    seconds[name] += time.process_time() - began
        if i and "face_track" in known:
            shares.append(float(np.mean(np.asarray(known["face_track"])[::5, 4] > 0)))
    return seconds, shares


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scenes", type=int, default=3)
    parser.add_argument("--lines", type=int, default=8)
    options = parser.parse_args()
    weights = fetched("mediapipe_face")
    if weights is None:
        raise SystemExit("type `redub weights get mediapipe_face` first")
    with tempfile.TemporaryDirectory() as folder:
        clips = film(Path(folder), options.scenes, options.lines)
    frames = sum(0 if clip.frames is None else len(clip.frames) for clip in clips)
    print(f"{len(clips)} clips, {frames} frames")
    track = {}
    for backend, chain in chains(weights).items():
        seconds, shares = run(chain, clips)
        track[backend] = seconds["face_track"]
        each = ", ".join(f"{name} {1000 * s / frames:.2f}" for name, s in seconds.items())
        print(f"{backend:10} ms per frame: {each}")
        found = f"{len(shares)} of {len(clips)} clips"
        print(
            f"{'':10} a face in {found}, in {np.mean(shares or [0]):.1%} of their searched frames"
        )
    print(
        f"face_track, mediapipe against builtin: ratio {track['mediapipe'] / track['builtin']:.2f}"
    )


if __name__ == "__main__":
    main()
