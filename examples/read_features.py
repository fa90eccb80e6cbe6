"""How high does each speaker speak, and how sure is the face network of what it sees?

python examples/read_features.py demo
"""

import argparse

import numpy as np
import polars as pl

import redub


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("project", help="a project folder, such as the one of `redub demo`")
    project = redub.open_project(parser.parse_args().project)

    # NumPy: one array per clip. F0 is (T, 1) Hz, 0 where the speech is unvoiced.
    f0 = project.arrays("f0")
    medians = {clip: float(np.median(hz[hz > 0])) for clip, hz in f0.items() if (hz > 0).any()}
    pitch = pl.DataFrame(
        {"clip_id": list(medians), "median_f0_hz": list(medians.values())},
        schema={"clip_id": pl.String, "median_f0_hz": pl.Float64},
    )
    by_speaker = (
        project.clips()
        .join(pitch, on="clip_id")
        .group_by("speaker")
        .agg(clips=pl.len(), median_f0_hz=pl.col("median_f0_hz").median().round(1))
        .sort("speaker")
    )
    print(by_speaker)

    # polars: one row per clip, with the reason where there is no value.
    faces = project.features("face_emotion")
    print(f"\n{int(faces['valid'].sum())} of {len(faces)} clips have a face emotion vector")
    print(faces.filter(~pl.col("valid")).select("clip_id", "why_not"))


if __name__ == "__main__":
    main()
