"""Write the frames of an episode to a small GIF or MP4. Runs in `raymon evaluate --render`; never in training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from raymon.errors import UserError

FORMATS: Final = (".gif", ".mp4")
_LONGEST_SIDE: Final = 320
_FRAMES_PER_SECOND: Final = 30


class VideoError(UserError):
    """A video that cannot be written."""


def check(path: Path) -> None:
    """Raise `VideoError` if no video can be written there; called before an episode is played."""
    if path.suffix.lower() not in FORMATS:
        raise VideoError(f"found --render {path}, expected a name that ends in {' or '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise VideoError(f"found --render {path}, but there is no folder {path.parent}")
    _writer()


def _writer() -> Any:  # noqa: ANN401  # a module of an extra
    try:
        import imageio.v3
    except ImportError as error:
        raise VideoError(f"--render needs a package: pip install 'raymon-rl[render]' ({error})") from error
    return imageio.v3


def write(path: Path, frames: Sequence[NDArray[np.uint8]], source_rate: float) -> None:
    """Write frames `[height, width, 3]`, played in real time.

    Args:
        path: Ends in .gif or .mp4.
        frames: At least one.
        source_rate: Frames per second of the environment; above 30, frames are skipped.

    Raises:
        VideoError: A package is missing or the file cannot be written.
    """
    imageio = _writer()
    keep = max(1, round(source_rate / _FRAMES_PER_SECOND))
    rate = source_rate / keep
    small = np.stack([_shrink(frame) for frame in frames[::keep]])
    try:
        if path.suffix.lower() == ".gif":
            imageio.imwrite(path, small, plugin="pillow", duration=1000 / rate, loop=0)
        else:
            imageio.imwrite(path, small, plugin="pyav", codec="libx264", fps=round(rate))
    except ImportError as error:
        raise VideoError(f"{path} needs a package: pip install 'raymon-rl[render]' ({error})") from error
    except OSError as error:
        raise VideoError(f"{path} cannot be written: {error}") from error


def _shrink(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average blocks of pixels until the longest side is small, and make both sides even, as video codecs require."""
    block = -(-max(frame.shape[:2]) // _LONGEST_SIDE)
    height, width = (size // block // 2 * 2 for size in frame.shape[:2])
    cut = frame[: height * block, : width * block, :3].astype(np.uint16)
    return np.asarray(cut.reshape(height, block, width, block, 3).mean(axis=(1, 3)), np.uint8)
