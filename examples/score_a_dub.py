"""How far is a dubbed clip from its recording: spectrum, pitch, voicing?

    python examples/score_a_dub.py demo/footage/SCENE.mp4 demo/dubbed/SCENE.mp4

Any two files with sound work; they must start at the same moment.
"""

import argparse

import av
import numpy as np
import pyworld
from numpy.typing import NDArray

from redub import metrics

RATE_HZ = 22_050
FRAME_MS = 10.0


def sound_of(path: str) -> NDArray[np.float64]:
    """(S,) mono samples at :data:`RATE_HZ`."""
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE_HZ)
    with av.open(path) as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(np.float64)


def pitch_of(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T,) Hz, one value per :data:`FRAME_MS`, 0 where unvoiced."""
    f0, _ = pyworld.harvest(samples, RATE_HZ, frame_period=FRAME_MS)
    return np.asarray(f0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recorded", help="the file with the original sound")
    parser.add_argument("dubbed", help="the dubbed file")
    arguments = parser.parse_args()

    recorded, dubbed = sound_of(arguments.recorded), sound_of(arguments.dubbed)
    spectrum = metrics.mcd_published(recorded, dubbed, sample_rate_hz=RATE_HZ)
    f0 = pitch_of(recorded), pitch_of(dubbed)
    print(f"MCD      {spectrum.mcd:6.2f} dB")
    print(f"MCD-DTW  {spectrum.mcd_dtw:6.2f} dB")
    print(f"GPE      {metrics.gpe(*f0):6.1%}  of the frames voiced in both are more than 20 % off")
    print(f"VDE      {metrics.vde(*f0):6.1%}  of all frames are voiced in one of the two only")
    print(f"FFE      {metrics.ffe(*f0):6.1%}  either of these")


if __name__ == "__main__":
    main()
