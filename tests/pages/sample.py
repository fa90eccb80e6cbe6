"""A made-up but complete report: sounds, films and figures are drawn here from a seed."""

import io

import av
import cv2
import numpy as np

from redub.core.metric import Against, Comparison, Interval, Metric
from redub.core.types import EMOTIONS, Waveform
from redub.pages.contents import (
    Card,
    Casting,
    Chart,
    Confusion,
    Curve,
    EmotionRow,
    EmotionTable,
    Line,
    Measure,
    MetricTable,
    Neighbour,
    Picture,
    QuarantineRow,
    ReportData,
    Sound,
    StageTiming,
    SystemRow,
    Table,
    Take,
    TrainingSample,
    TrainingStrip,
)
from redub.pages.media import palette_png

RATE, HOP = 16_000, 160
SYSTEMS = ("ground truth", "vocoder resynthesis", "Authentic-Dubber", "without graphs", "mean mel")
ROLES = ("reference", "reference", "system", "system", "baseline")
SENTENCES = (
    "How dare you touch my green clock?",
    "Something horrible is hiding at the station.",
    "I miss the empty hammer in the village.",
    "Come and dance with the delightful lady!",
    "They will cover the wooden pillow tomorrow.",
    "What is that sudden hammer doing at the market, in front of everybody we know?",
)
SPEAKERS = ("Oscar", "Milo", "Ruby", "Daisy")
PHONES = (
    "HH",
    "AW",
    "D",
    "EH",
    "R",
    "Y",
    "UW",
    "T",
    "CH",
    "M",
    "AY",
    "G",
    "IY",
    "N",
    "K",
    "L",
    "AA",
)


def pitch_of(rng, frames, base):
    curve = base * np.exp(0.25 * np.cumsum(rng.standard_normal(frames)) / np.sqrt(frames))
    curve *= 1 + 0.12 * np.sin(np.linspace(0, 6, frames))
    unvoiced = np.sin(np.linspace(0, rng.uniform(18, 30), frames) + rng.uniform(0, 6)) > 0.75
    return np.where(unvoiced, 0, curve).astype(np.float32)


def sound_of(f0, rng):
    f0_samples = np.repeat(f0, HOP)
    phase = 2 * np.pi * np.cumsum(f0_samples) / RATE
    tone = sum(np.sin(k * phase) / k for k in range(1, 12)) * (f0_samples > 0)
    hiss = 0.15 * rng.standard_normal(len(tone)) * (f0_samples == 0)
    swell = 0.5 + 0.5 * np.sin(np.linspace(0, 25, len(tone))) ** 2
    return (0.18 * swell * (tone + hiss)).astype(np.float32)


def mel_of(samples):
    padded = np.pad(samples, 512)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 1024)[::HOP][: len(samples) // HOP]
    power = np.abs(np.fft.rfft(windows * np.hanning(1024))) ** 2
    edges = np.unique(np.geomspace(3, 512, 81).astype(int))
    bands = np.add.reduceat(power, edges[:-1], axis=1)
    bands = bands[:, np.linspace(0, bands.shape[1] - 1, 80).astype(int)]
    return np.log(np.maximum(np.sqrt(bands), 1e-5)).astype(np.float32)


def film_of(rng, pictures, side=160):
    """MP4 bytes and the first picture: a face whose mouth moves."""
    buffer = io.BytesIO()
    wall, skin = rng.uniform(40, 190, 3), np.array([224, 172, 140]) * rng.uniform(0.5, 1.05)
    first = None
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "30"}
        for k in range(pictures):
            frame = np.full((side, side, 3), wall, np.uint8)
            cv2.ellipse(frame, (side // 2, side // 2), (46, 60), 0, 0, 360, skin.tolist(), -1)
            for x in (-18, 18):
                cv2.circle(frame, (side // 2 + x, side // 2 - 14), 6, (30, 30, 30), -1)
            opening = int(4 + 9 * abs(np.sin(k * 0.7)))
            centre = (side // 2, side // 2 + 30)
            cv2.ellipse(frame, centre, (18, opening), 0, 0, 360, (90, 20, 30), -1)
            first = frame if first is None else first
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return Picture(mp4=buffer.getvalue(), poster=first)


def take_of(system, rng, frames, base, text):
    if system == "mean mel":
        f0 = np.zeros(frames, np.float32)
        mel = np.tile(np.linspace(-1, -6, 80, dtype=np.float32), (frames, 1))
        sound = (0.02 * rng.standard_normal(frames * HOP)).astype(np.float32)
    else:
        f0 = pitch_of(rng, frames, base)
        sound = sound_of(f0, rng)
        mel = mel_of(sound)
    cuts = np.sort(rng.choice(np.arange(2, frames - 2), len(PHONES) - 1, replace=False))
    lengths = np.diff([0, *cuts, frames])
    recognised = text.lower().strip("?!.") if system != "mean mel" else ""
    return Take(
        system=system,
        sound=Sound(waveform=Waveform(sound, RATE)),
        mel=mel,
        f0_hz=f0,
        durations=tuple(zip(PHONES, map(int, lengths), strict=True))
        if system in SYSTEMS[:3]
        else (),
        transcript=recognised,
        figures=() if system == "ground truth" else (("MCD", f"{rng.uniform(4, 9):.1f} dB"),),
    )


def library(rng, size=12):
    found = []
    for number in range(size):
        f0 = pitch_of(rng, 120, 180.0)
        found.append(
            {
                "clip_id": f"pilot/scene-{number // 4:02d}/line-{number:03d}",
                "speaker": SPEAKERS[number % 4],
                "emotion": EMOTIONS[number % 7],
                "text": SENTENCES[number % len(SENTENCES)],
                "film": "Pilot",
                "sound": Sound(waveform=Waveform(sound_of(f0, rng), RATE)),
                "picture": film_of(rng, 20, side=96),
            }
        )
    return found


def casting_of(rng, shelf, emotion):
    queries = {
        "scene": "A dim, cold room with little movement; the picture is dark and slightly blue.",
        "face": "The mouth opens wide and often, the face moves a lot: it looks agitated.",
        "text": f"The words themselves sound {emotion}.",
    }
    sheets = []
    for modality, query in queries.items():
        picked = rng.permutation(len(shelf))[:4]
        scores = np.sort(rng.uniform(0.55, 0.98, 4))[::-1]
        hits = [
            Neighbour(
                rank=rank,
                score=float(score),
                shared_words=("green", "hammer", "station"),
                excluded="same scene as the query" if rank == 4 else "",
                **shelf[i],
            )
            for rank, (i, score) in enumerate(zip(picked, scores, strict=True), start=1)
        ]
        sheets.append(Casting(modality=modality, query=query, neighbours=tuple(hits)))
    return tuple(sheets)


def line_of(number, rng, shelf):
    text = SENTENCES[number % len(SENTENCES)]
    frames = 4 * int(rng.integers(45, 95))
    base = (115.0, 150.0, 210.0, 260.0)[number % 4]
    emotion = EMOTIONS[int(rng.integers(7))]
    return Line(
        clip_id=f"pilot/scene-{10 + number // 4:02d}/line-{number:03d}",
        text=text,
        speaker=SPEAKERS[number % 4],
        emotion=emotion,
        film="Pilot",
        scene=f"scene-{10 + number // 4:02d}",
        split="test",
        picture=film_of(rng, frames // 4),
        takes=tuple(
            take_of(s, rng, frames if s != "without graphs" else frames - 8, base, text)
            for s in SYSTEMS
        ),
        casting=casting_of(rng, shelf, emotion),
        facts=(("length", f"{frames / 100:.2f} s"), ("start", "00:01:12.40")),
    )


def around(value, half):
    return Measure(value, value - half, value + half)


METRICS = (
    Metric(
        name="mcd",
        title="MCD-DTW",
        unit="dB",
        digits=2,
        explain="Mel-cepstral distance along a dynamic time warping path, c1 to c13.",
    ),
    Metric(
        name="wer",
        title="WER",
        unit="%",
        scale=100,
        digits=1,
        explain="Corpus-level word errors of a small offline recogniser with a language model "
        "of the training sentences. Compare rows, not papers.",
    ),
    Metric(
        name="ffe", title="FFE", unit="%", scale=100, digits=1, explain="Frames with a pitch error."
    ),
    Metric(
        name="sync",
        title="Lip–audio offset",
        unit="pictures",
        digits=1,
        explain="A linear meter fitted on training clips; not LSE.",
    ),
    Metric(
        name="sim",
        title="Speaker similarity",
        direction="higher",
        digits=3,
        explain="Cosine of long-term spectral statistics.",
    ),
)
VALUES = {
    "ground truth": (0.0, 0.061, 0.0, 0.3, 1.0),
    "vocoder resynthesis": (4.71, 0.068, 0.102, 0.3, 0.981),
    "Authentic-Dubber": (7.62, 0.142, 0.214, 0.9, 0.934),
    "without graphs": (7.95, 0.139, 0.247, 1.1, 0.911),
    "mean mel": (12.4, 1.0, 0.52, 6.2, 0.702),
}
HALVES = (0.35, 0.032, 0.028, 0.4, 0.012)


def results():
    rows = []
    for system, role in zip(SYSTEMS, ROLES, strict=True):
        values = {
            metric.name: around(value, half)
            for metric, value, half in zip(METRICS, VALUES[system], HALVES, strict=True)
        }
        if system == "ground truth":
            values["mcd"] = Measure(0.0)
        rows.append(
            SystemRow(
                system=system,
                role=role,
                values=values,
                note={"mean mel": "training-mean mel, to scale"}.get(system, ""),
            )
        )
    return MetricTable(
        metrics=METRICS, rows=tuple(rows), note="120 test lines; no scene is shared."
    )


def emotion(rng):
    classes = EMOTIONS[:7]
    shares = (0.842, 0.833, 0.617, 0.508, 0.2)
    rows = tuple(
        EmotionRow(
            system=system,
            role=role,
            accuracy=around(share, 0.085),
            macro_f1=Measure(share - 0.03),
            count=120,
        )
        for system, role, share in zip(SYSTEMS, ROLES, shares, strict=True)
    )
    counts = rng.multinomial(17, [0.06] * 7 + [0.58], size=7)
    table = [
        [int(row[j] + (row[7] if i == j else 0)) for j in range(7)] for i, row in enumerate(counts)
    ]
    confusion = Confusion(
        system="Authentic-Dubber", classes=classes, counts=tuple(map(tuple, table))
    )
    return EmotionTable(
        rows=rows,
        majority=0.2,
        confusions=(confusion,),
        note="Speaker-normalised prosody; a support vector machine chosen on training scenes.",
    )


def charts(rng):
    steps = np.arange(10, 2001, 10)

    def curve(name, floor, drop):
        noise = 0.04 * rng.standard_normal(len(steps))
        values = floor + drop * np.exp(-steps / 350) * (1 + noise)
        return Curve(name=name, steps=tuple(map(float, steps)), values=tuple(map(float, values)))

    return tuple(
        Chart(
            title=title,
            y_label=unit,
            curves=(
                curve("Authentic-Dubber", floor, drop),
                curve("without graphs", floor * 1.1, drop),
            ),
        )
        for title, unit, floor, drop in (
            ("Mel loss", "mean absolute error, nepers", 0.42, 2.4),
            ("Pitch loss", "mean squared error", 0.11, 0.9),
            ("Duration loss", "mean squared error, log frames", 0.06, 0.5),
            ("Emotion loss", "cross-entropy, nats", 0.8, 1.2),
        )
    )


def strip_of(run, rng, steps):
    """A line of a run at some steps; the last one's files are damaged."""
    samples = [
        TrainingSample(
            step=step,
            picture=palette_png(rng.integers(0, 64, (90, 84), np.uint8), 64),
            sound=Sound(waveform=Waveform(sound_of(pitch_of(rng, 60, 180.0), rng), RATE)),
            figures=(("mel L1", f"{rng.uniform(0.3, 2):.2f}"), ("F0", "312 cents")),
        )
        for step in steps[:-1]
    ]
    problem = "Not shown: line_00.png is gone or is not what training wrote."
    return TrainingStrip(
        run=run,
        clip_id="pilot/scene-09/line-002",
        text=SENTENCES[2],
        split="validation",
        recorded=Sound(waveform=Waveform(sound_of(pitch_of(rng, 60, 180.0), rng), RATE)),
        samples=(*samples, TrainingSample(step=steps[-1], problem=problem)),
    )


def sample_strips(seed=1):
    rng = np.random.default_rng(seed)
    strips = (("Authentic-Dubber", (100, 700, 1400, 2000)), ("without graphs", (100, 2000)))
    return tuple(strip_of(run, rng, steps) for run, steps in strips)


def sample_report(lines=6, seed=0):
    rng = np.random.default_rng(seed)
    shelf = library(rng)
    return ReportData(
        title="Two dubbers on the demo film",
        project="pilot",
        created="2026-03-04 11:32 UTC",
        summary="A six-minute film drawn and spoken by redub was read, indexed, learnt and dubbed "
        "again on two processor cores. 120 lines of scenes that no model has seen are judged here.",
        cards=(
            Card(
                title="Emotion recognised",
                value="61.7 %",
                beside=(("ground truth", "84.2 %"), ("always the commonest emotion", "20.0 %")),
                standing="better",
                verdict="better than always the commonest emotion",
                detail="95 % interval 53.2 to 70.2 %",
            ),
            Card(
                title="Words not understood",
                value="34.2 %",
                beside=(("ground truth", "6.1 %"), ("without graphs", "21.0 %")),
                standing="worse",
                verdict="worse than without graphs",
            ),
            Card(
                title="Distance of the mel",
                value="4.3 dB",
                beside=(("training-mean mel", "4.4 dB"),),
                verdict="no clear difference from training-mean mel",
            ),
            Card(title="Lines dubbed", value="120", detail="7 quarantined of 727"),
        ),
        results=results(),
        comparisons=(
            Comparison(
                metric="wer",
                run="Authentic-Dubber",
                against=Against(kind="run", name="without graphs"),
                interval=Interval(-0.003, -0.035, 0.029),
            ),
        ),
        emotion=emotion(rng),
        charts=charts(rng),
        lines=tuple(line_of(n, rng, shelf) for n in range(lines)),
        footage=(
            Table(
                title="Clips per split",
                columns=("Split", "Scenes", "Clips", "Minutes"),
                rows=(("train", 24, 480, 22.4), ("validation", 6, 120, 5.5), ("test", 6, 120, 5.7)),
                note="No scene and no sentence is in two splits.",
            ),
            Table(
                title="Clips per speaker and emotion",
                columns=("Speaker", "angry", "fear", "happy", "neutral", "sad"),
                rows=(("Oscar", 26, 25, 27, 51, 24), ("Ruby", 24, 26, 25, 50, 27)),
            ),
        ),
        timings=(
            StageTiming(stage="ingest", seconds=14.2, items=727),
            StageTiming(stage="extract", seconds=212.0, items=720, note="16 features, 2 workers"),
            StageTiming(stage="index", seconds=2.6, items=480),
            StageTiming(stage="train", seconds=1571.0, items=2000),
            StageTiming(stage="synthesize", seconds=61.3, items=120),
        ),
        quarantine=(
            QuarantineRow(
                clip_id="pilot/broken/truncated.mp4",
                stage="ingest",
                code="E-IN-TRUNCATED",
                message="43 of 100 pictures could be read; the file ends early.",
                command="redub bad retry pilot/broken/truncated.mp4",
            ),
            QuarantineRow(
                clip_id="pilot/scene-03/line-017",
                stage="extract durations",
                code="E-TEXT-OOV",
                message="No pronunciation of: zorblax.",
            ),
        ),
        environment=(
            ("redub", "0.1.0"),
            ("Python", "3.11.7"),
            ("torch", "2.13.0+cpu"),
            ("processor", "2 cores"),
            ("seed", "0"),
        ),
        commands=("redub demo pilot", "redub report -C pilot"),
    )
