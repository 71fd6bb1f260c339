import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from fake_lift import FakeLift

from smidgen.evaluation.videos import (
    BORDER_PX,
    FAILURE_RGB,
    MAX_BYTES,
    SUCCESS_RGB,
    VideoRecorder,
    framed,
    write_video,
)


def decode(path: Path, height: int = 272, width: int = 272) -> tuple[np.ndarray, str]:
    """Frames (S, height, width, 3), and what ffmpeg says of the file."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    ran = subprocess.run(command, capture_output=True, check=True)
    return np.frombuffer(ran.stdout, dtype=np.uint8).reshape(-1, height, width, 3), ran.stderr.decode()


@pytest.mark.parametrize(("success", "colour_rgb"), [(True, SUCCESS_RGB), (False, FAILURE_RGB)])
def test_a_video_plays_and_ends_in_the_outcomes_colour(
    success: bool, colour_rgb: tuple[int, ...], tmp_path: Path
) -> None:
    path = tmp_path / "videos" / "x.mp4"
    frames = [np.full((64, 64, 3), value, dtype=np.uint8) for value in range(0, 200, 10)]
    write_video(path, frames, success, fps=20)
    shown, described = decode(path)
    assert all(word in described for word in ("h264", "yuv420p", "20 fps", "272x272"))
    assert len(shown) == len(frames) + 15
    np.testing.assert_allclose(shown[-1, 2, 2], colour_rgb, atol=12)
    np.testing.assert_allclose(shown[5, 100, 100], 50, atol=6)


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    frames = [np.random.default_rng(seed).integers(0, 255, (32, 32, 3), dtype=np.uint8) for seed in range(3)]
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, frames, True, fps=20)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.mp4", "b.mp4"]


def test_a_restless_video_is_made_coarser_until_it_is_small_enough(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (64, 64, 3), dtype=np.uint8) for _ in range(60)]
    write_video(tmp_path / "noise.mp4", frames, True, fps=20)
    write_video(tmp_path / "one.mp4", frames[:3], True, fps=20)
    assert (tmp_path / "one.mp4").stat().st_size < (tmp_path / "noise.mp4").stat().st_size <= MAX_BYTES


@pytest.mark.parametrize("size", [(64, 64), (63, 127), (300, 301), (1, 1)])
def test_frames_grow_by_a_whole_factor_to_even_sides(size: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    canvas = framed(frame, (1, 2, 3))
    assert canvas.shape[0] % 2 == canvas.shape[1] % 2 == 0
    factor = max(1, 256 // size[0])
    inside = canvas[BORDER_PX : BORDER_PX + factor * size[0], BORDER_PX : BORDER_PX + factor * size[1]]
    assert np.array_equal(inside[::factor, ::factor], frame)
    assert tuple(canvas[0, 0]) == (1, 2, 3)


def test_cameras_stand_side_by_side() -> None:
    recorder = VideoRecorder()
    recorder.capture(FakeLift(cameras=("front", "side"), image_size=16))
    assert recorder.frames[0].shape == (16, 32, 3)
