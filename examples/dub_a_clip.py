"""Dub one clip with a trained run, then once more two semitones higher.

python examples/dub_a_clip.py demo scene.mp4 scene.srt dubbed.mp4
python examples/dub_a_clip.py demo scene.mp4 scene.srt dubbed.mp4 --voice RUBY
"""

import argparse
from pathlib import Path

import redub


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "project", help="a project with a trained run, such as that of `redub demo`"
    )
    parser.add_argument("video")
    parser.add_argument("script", help="subtitles (.srt, .vtt, .ass) with the lines to speak")
    parser.add_argument("output", type=Path, help="the mp4 to write")
    parser.add_argument("--voice", help="a speaker or a clip id of the project's library")
    asked = parser.parse_args()

    project = redub.open_project(asked.project)
    higher = asked.output.with_stem(asked.output.stem + "_higher")
    for output, pitch in ((asked.output, None), (higher, "+2st")):
        done = redub.dub(
            project,
            video=asked.video,
            script=asked.script,
            output=output,
            voice=asked.voice,
            pitch=pitch,
        )
        print(f"{output}: {done.dubbed} lines in the voice of {done.voice}")
        for fault in done.faults:
            print(f"  line {fault.line} was not spoken: {fault.message} ({fault.code})")


if __name__ == "__main__":
    main()
