"""The size, pixel shape and orientation of a film's frames."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class FrameGeometry:
    """Geometry of the decoded video frames, before scaling.

    Attributes:
        width, height: in pixels, as stored.
        pixel_aspect: width of a pixel divided by its height.
        quarter_turns: counterclockwise rotations by 90 degrees that set a frame upright.
        is_mirrored: whether left and right are swapped before the rotation.
    """

    width: int
    height: int
    pixel_aspect: Fraction
    quarter_turns: int
    is_mirrored: bool = False

    @property
    def is_upright(self) -> bool:
        """Whether the frames are stored as they are shown."""
        return not self.quarter_turns and not self.is_mirrored

    def set_upright(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Mirror and rotate an image (H, W, …) as the file says."""
        return np.rot90(image[:, ::-1] if self.is_mirrored else image, self.quarter_turns)

    def fitted(self, max_side: int) -> tuple[int, int]:
        """Return the (width, height) to scale to, before the rotation.

        Pixels become square, both sides even and at most ``max_side``. No side grows, except that
        a side of one pixel becomes two.
        """
        width, height = Fraction(self.width), Fraction(self.height)
        if self.pixel_aspect > 1:
            height /= self.pixel_aspect
        else:
            width *= self.pixel_aspect
        scale = min(Fraction(1), Fraction(max_side) / max(width, height))
        return _even(width * scale), _even(height * scale)

    def upright(self, max_side: int) -> tuple[int, int]:
        """Return the (width, height) of :meth:`fitted`, after the rotation."""
        width, height = self.fitted(max_side)
        return (height, width) if self.quarter_turns % 2 else (width, height)


def _even(side: Fraction) -> int:
    return max(2, int(side + Fraction(1, 2)) // 2 * 2)


def orientation(frame: Any) -> tuple[int, bool]:
    """Counterclockwise quarter turns and whether to mirror first, from a frame's display matrix.

    The matrix maps a point (x, y) of the frame to (a x + c y, b x + d y); y points down. A negative
    determinant mirrors. Other angles than quarter turns are rounded.
    """
    data = next((one for one in frame.side_data if one.type.name == "DISPLAYMATRIX"), None)
    if data is None:
        return round(frame.rotation / 90) % 4, False
    a, b, _, c, d, *_ = np.frombuffer(bytes(data), np.int32).astype(np.float64)
    is_mirrored = bool(a * d - b * c < 0)
    if is_mirrored:
        a, b = -a, -b
    return round(float(np.degrees(np.arctan2(-b, a))) / 90) % 4, is_mirrored
