"""Which images is a stack made of, and where in each of them does a pixel of the stack lie?"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyrelay.products import STACK_FRAMES
from skyrelay.store import files

#: Rows of ``(x', y') = matrix (x, y, 1)``.
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Frame:
    """One image of a stack.

    Attributes
    ----------
    name : str
        The file, as `stack_filenames` has it.
    matrix : ndarray or None
        From pixels of the stack to pixels of the frame, where it was registered on its stars;
        None where its coordinates on the sky say it.
    """

    name: str
    matrix: Matrix | None


@dataclass(frozen=True)
class StackFrames:
    """The images of a stack, in their order."""

    frames: tuple[Frame, ...]

    @staticmethod
    def read(folder: Path) -> StackFrames | None:
        """What the stacking has left in the task's folder; None if the image is no stack."""
        try:
            content = json.loads((folder / STACK_FRAMES).read_text(encoding="utf-8"))
            return StackFrames(tuple(map(_frame, content["frames"])))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            # Somebody has put something else there: then it tells nothing.
            return None

    def write(self, folder: Path) -> None:
        """Write it to the task's folder."""
        content = {
            "frames": [
                {
                    "name": frame.name,
                    "matrix": None if frame.matrix is None else frame.matrix.tolist(),
                }
                for frame in self.frames
            ]
        }
        data = json.dumps(content, indent=1).encode()
        files.write_atomically(folder / STACK_FRAMES, data)

    def cropped(self, x1: int, y1: int) -> StackFrames:
        """The same for the stack without its first ``x1`` columns and ``y1`` rows."""
        return StackFrames(tuple(_shifted(frame, x1, y1) for frame in self.frames))


def _shifted(frame: Frame, x1: int, y1: int) -> Frame:
    if frame.matrix is None:
        return frame
    moved = frame.matrix.copy()
    moved[:, 2] += moved[:, :2] @ [x1, y1]
    return replace(frame, matrix=moved)


def _frame(content: dict[str, Any]) -> Frame:
    matrix = content["matrix"]
    array = None if matrix is None else np.asarray(matrix, dtype=float).reshape(2, 3)
    return Frame(str(content["name"]), array)
