"""Find the imported file of a clip by its name.

For ``Film~night-0003`` from ``Film/night.mp4`` (upper and lower case differ):

1. ``Film~night-0003.SUFFIX`` or ``Film_night-0003.SUFFIX``, in any folder;
2. ``night-0003.SUFFIX``, the last part of the clip id;
3. ``night.SUFFIX``, the name of the source, if the clip begins at the start of its source.

If several folders have such a file, the file in a folder ``Film`` is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from redub.core.errors import FeatureAbsent
from redub.core.types import Clip


def file_of(clip: Clip, files: Sequence[str], suffix: str, *, code: str) -> str | None:
    """Return the file of a clip among the recorded files, or None.

    Args:
        suffix: with the dot.
        code: error code if several files match.

    Raises:
        FeatureAbsent: ``code``, several files match.
    """
    folders, _, last = clip.clip_id.rpartition("~")
    names = [clip.clip_id, clip.clip_id.replace("~", "_"), last]
    if clip.start_frame == 0:
        names.append(PurePosixPath(clip.source).stem)
    own_folders = tuple(folders.split("~")) if folders else ()
    for name in dict.fromkeys(names):
        found = [file for file in files if PurePosixPath(file).name == name + suffix]
        if len(found) > 1:
            nearest = [f for f in found if _is_in(f, own_folders)]
            if len(nearest) != 1:
                raise FeatureAbsent(
                    f"{len(found)} files are called {name}{suffix} ({', '.join(found[:3])}); put "
                    f"them into folders like those of the footage, or call one {clip.clip_id}"
                    f"{suffix}",
                    code=code,
                )
            found = nearest
        if found:
            return found[0]
    return None


def _is_in(file: str, folders: tuple[str, ...]) -> bool:
    own = PurePosixPath(file).parts[:-1]
    return own[len(own) - len(folders) :] == folders
