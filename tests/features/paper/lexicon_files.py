"""Pronunciation lexicons in the public formats, a few words long."""

from __future__ import annotations

from pathlib import Path

LIBRISPEECH = "A\tAH0\nA\tEY1\nDOOR\tD AO1 R\nKIDS\tK IH1 D Z\nDON'T\tD OW1 N T\nTHE\tDH AH0\n"
CMUDICT_07B = (
    ";;; # CMUdict  --  Major Version: 0.07\n"
    "#HASH-MARK  HH AE1 SH M AA2 R K\n"
    "'BOUT  B AW1 T\n"
    "D\u00c9J\u00c0  D EY1 ZH AA2\n"
    "READ  R EH1 D\n"
    "READ(1)  R IY1 D\n"
)
CMUDICT_DICT = "read(2) r iy d\nd'artagnan d ah r t ae ng y ah n # foreign french\nread r eh d\n"
MFA = (
    "<unk>\tspn\n"
    "[bracketed]\tspn\n"
    "door\t0.99\t0.13\t1.24\t0.96\tD AO1 R\n"
    "kids\t0.5\t0.12\t1.0\t1.0\tK IH1 T S\n"
    "kids\t1.0\t0.12\t1.0\t1.0\tK IH1 D Z\n"
)


def make_lexicon(folder: Path, *, text: str = LIBRISPEECH, encoding: str = "utf-8") -> Path:
    """Write ``librispeech-lexicon.txt`` into a new folder, which is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "librispeech-lexicon.txt").write_bytes(text.encode(encoding))
    return folder
