"""The samples that a run made while it trained, for the page of an evaluation."""

from __future__ import annotations

from redub.core.errors import IntegrityError
from redub.pages.contents import Sound, TrainingSample, TrainingStrip
from redub.pipeline.reports.evaluation_lines import STEPS_SHOWN, stored_sound
from redub.pipeline.store.project import Project
from redub.pipeline.store.runs.folders import run_folder, sampled_steps
from redub.pipeline.store.tables import Store
from redub.pipeline.work.training_samples import Distances, read_sample


def training_strip(project: Project, store: Store, run: str) -> TrainingStrip | None:
    """Samples of the first utterance at up to STEPS_SHOWN steps, evenly spread.

    A damaged sample becomes a sentence. None for a run without samples.
    """
    folder = run_folder(project, run)
    steps = sampled_steps(folder)
    if not steps:
        return None
    last, places = len(steps) - 1, min(STEPS_SHOWN, len(steps))
    shown = sorted({steps[round(place * last / max(places - 1, 1))] for place in range(places)})
    samples, line = [], None
    for step in shown:
        try:
            line = read_sample(folder, step)
        except IntegrityError as error:
            samples.append(TrainingSample(step=step, problem=f"Not shown: {error.message}."))
        else:
            sound = Sound(waveform=line.waveform)
            figures = _distance_texts(line.distances)
            samples.append(
                TrainingSample(step=step, picture=line.picture, sound=sound, figures=figures)
            )
    if line is None:
        return TrainingStrip(run=run, samples=tuple(samples))
    texts = {clip.clip_id: clip.text for clip in store.clips()}
    recorded = store.read("waveform", {line.clip_id} & texts.keys()).get(line.clip_id)
    return TrainingStrip(
        run=run,
        samples=tuple(samples),
        clip_id=line.clip_id,
        text=texts.get(line.clip_id, ""),
        split=line.split,
        recorded=None if recorded is None else stored_sound(project, recorded),
    )


def _distance_texts(distances: Distances) -> tuple[tuple[str, str], ...]:
    texts = (
        ("mel L1", distances.mel_l1, "{:.2f}"),
        ("F0", distances.f0_rmse_cents, "{:.0f} cents"),
        ("durations", distances.duration_error_ms, "{:.1f} ms"),
    )
    return tuple((name, form.format(value)) for name, value, form in texts if value is not None)
