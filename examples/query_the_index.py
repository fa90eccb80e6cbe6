"""Which lines of the library are most like one clip, and how often do they share its emotion?

python examples/query_the_index.py demo            # a clip of the test split
python examples/query_the_index.py demo CLIP_ID
"""

import argparse

import redub


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("project", help="a project folder, such as the one of `redub demo`")
    parser.add_argument("clip", nargs="?", help="a clip id, by default one of the test split")
    arguments = parser.parse_args()

    project = redub.open_project(arguments.project)
    clips = project.clips()
    clip = arguments.clip or clips.filter(clips["split"] == "test")["clip_id"][0]
    (row,) = clips.filter(clips["clip_id"] == clip).iter_rows(named=True)
    print(f"{clip}: {row['speaker']} ({row['emotion'] or 'unknown'}): {row['text']}")

    for modality in ("scene", "face", "text"):
        hits = project.index(modality).query(clip, k=3)
        print(f"\nby {modality}:")
        for hit in hits.iter_rows(named=True):
            print(f"  {hit['score']:.3f}  {hit['clip_id']}  {hit['emotion']:9}  {hit['text']}")
        if row["emotion"]:
            same = int((hits["emotion"] == row["emotion"]).sum())
            print(f"  {same} of {len(hits)} share its emotion")


if __name__ == "__main__":
    main()
