"""Episodes as a policy saw them: frames, saliency maps, and the videos and pictures made from them.

Letters: ``S`` frames of an episode (at reset and after every step), ``N`` cameras, ``H W`` rows and columns (in the
pictures those of all cameras, side by side).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from smidgen.evaluation.rollout import EpisodeResult, rollout
from smidgen.evaluation.video_files import checkpoint_mark, video_name
from smidgen.evaluation.videos import enlarged, write_video
from smidgen.policies.learned_policy import LearnedPolicy, cameras_to_channels, one_thread
from smidgen.policies.saliency import policy_saliency
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import write_atomic
from smidgen.runtime.spacing import evenly_spaced

# Saliency above this quantile of all videos is clipped, so that a few bright pixels do not leave the rest dark.
FULL_HEAT_QUANTILE = 0.995
COLOUR_MAP = "inferno"
# Rec. 601, to convert colour to grey.
LUMINANCE_RGB = (0.299, 0.587, 0.114)
LINE_PX, FONT_PX, MARGIN_PX = 15, 12, 4
PAPER_RGB, INK_RGB = (24, 24, 24), (235, 235, 235)
SHEET_MOMENTS = 5


class EpisodeVideo:
    """Records what the policy saw in an episode. A `rollout.Recorder`."""

    def __init__(self) -> None:
        self.frames: list[np.ndarray] = []
        self.eef_states: list[np.ndarray] = []
        self.cue_masks: list[np.ndarray] = []

    def capture(self, env: Any) -> None:
        """Stores frames (N, H, W, 3), the end-effector's state, and the pixels (N, H, W) that the cue changes."""
        world = env.unwrapped
        self.frames.append(world.render_frames())
        self.eef_states.append(np.asarray(world.eef_state(), dtype=np.float64))
        with world.cue_hidden():
            self.cue_masks.append((world.render_frames() != self.frames[-1]).any(-1))


@dataclass(frozen=True, eq=False)
class RecordedEpisode:
    """An episode and its video."""

    result: EpisodeResult
    video: EpisodeVideo


@dataclass(frozen=True, eq=False)
class WatchedEpisode(RecordedEpisode):
    """A recorded episode with its saliency maps (S, N, H, W) and its outcome's label."""

    maps_SNHW: np.ndarray
    label: str

    def cue_shares(self) -> tuple[float, float]:
        """Share of the saliency (0 if there is none) and of the pixels that lie on the cue."""
        cue_SNHW = np.stack(self.video.cue_masks)
        total = float(self.maps_SNHW.sum(dtype=np.float64))
        on_cue = float(self.maps_SNHW[cue_SNHW].sum(dtype=np.float64))
        return on_cue / total if total > 0 else 0.0, float(cue_SNHW.mean())


def record_episode(env: Any, policy: LearnedPolicy, seed: int) -> RecordedEpisode:
    """Runs an episode and records what the policy saw.

    Raises:
        UserError: If it fails before the first frame.
    """
    video = EpisodeVideo()
    result = rollout(env, policy, seed, video)
    if not video.frames:
        raise UserError(f"seed {seed} failed before its first frame ({result.error}); choose another with seeds=[...]")
    return RecordedEpisode(result, video)


def episode_maps(policy: LearnedPolicy, video: EpisodeVideo, method: str) -> np.ndarray:
    """Saliency of every frame's pixels (S, N, H, W), float32.

    A map is computed when the policy predicts a chunk and repeated for ``num_executed`` frames. The maps of the frames
    in the policy's history are combined by their norm.
    """
    frames_SHWC = cameras_to_channels(np.stack(video.frames))
    num_executed = policy.config.num_executed
    past_T = policy.config.frame_stride * np.arange(1 - policy.config.num_frames, 1)
    num_actions = max(1, len(frames_SHWC) - 1)
    looks = []
    with one_thread():
        for step in range(0, num_actions, num_executed):
            window_T = np.maximum(step + past_T, 0)
            state = torch.from_numpy(video.eef_states[step]) if policy.config.use_eef_state else None
            maps_THWN = policy_saliency(policy, torch.from_numpy(frames_SHWC[window_T]), state, method)
            looks.append(maps_THWN.square().sum(0).sqrt().movedim(-1, 0).float().cpu().numpy())
    last_look = np.minimum(np.arange(len(frames_SHWC)) // num_executed, len(looks) - 1)
    return np.stack(looks)[last_look]


def require_method(policy: LearnedPolicy, method: str) -> None:
    """Refuses a method that does not apply before the simulator starts."""
    state = torch.zeros(len(policy.interface.eef_state_names)) if policy.config.use_eef_state else None
    policy_saliency(policy, torch.zeros(policy.network.frame_shape, dtype=torch.uint8), state, method)


def full_heat(watched: list[WatchedEpisode]) -> float:
    """The saliency that is shown at full heat; 1 if there is none at all."""
    values = np.concatenate([episode.maps_SNHW.ravel() for episode in watched])
    return float(np.quantile(values, FULL_HEAT_QUANTILE)) or float(values.max()) or 1.0


def overlay(frame_HWC: np.ndarray, heat_HW: np.ndarray) -> np.ndarray:
    """A grey frame under a heat map: cold pixels stay grey, hot ones glow.

    Args:
        frame_HWC: uint8 (H, W, 3).
        heat_HW: Heat, from 0 (cold) to 1 (hot); clipped.

    Returns:
        uint8 (H, W, 3).
    """
    heat_HW = np.clip(heat_HW, 0.0, 1.0)
    grey_HW1 = (frame_HWC @ np.array(LUMINANCE_RGB))[..., None]
    # Imported here: it takes half a second and only these videos need it.
    import matplotlib

    glow_HWC = matplotlib.colormaps[COLOUR_MAP](heat_HW)[..., :3] * 255.0
    # The square root makes low heat visible.
    share_HW1 = np.sqrt(heat_HW)[..., None]
    return np.round(grey_HW1 * (1.0 - share_HW1) + glow_HWC * share_HW1).astype(np.uint8)


def captioned(frame_HWC: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """An enlarged frame with lines of text below it: uint8 (rows, columns, 3)."""
    large_HWC = enlarged(frame_HWC)
    text = Image.new("RGB", (large_HWC.shape[1], LINE_PX * len(lines) + MARGIN_PX), PAPER_RGB)
    pen, font = ImageDraw.Draw(text), ImageFont.load_default(FONT_PX)
    for index, line in enumerate(lines):
        pen.text((MARGIN_PX, LINE_PX * index), line, fill=INK_RGB, font=font)
    return np.concatenate([large_HWC, np.asarray(text)])


def contact_sheet(plain: Sequence[np.ndarray], overlaid: Sequence[np.ndarray]) -> bytes:
    """A PNG of a few moments, evenly spaced from the first frame to the last: plain above, overlay below.

    Args:
        plain: uint8 (H, W, 3) each, at least one.
        overlaid: The same number, captioned.
    """
    moments = evenly_spaced(len(plain), SHEET_MOMENTS)
    columns = [np.concatenate([enlarged(plain[moment]), overlaid[moment]]) for moment in moments]
    gap = np.full((columns[0].shape[0], MARGIN_PX, 3), PAPER_RGB, dtype=np.uint8)
    parts = [part for column in columns for part in (gap, column)][1:]
    file = io.BytesIO()
    Image.fromarray(np.concatenate(parts, axis=1)).save(file, "png", optimize=True)
    return file.getvalue()


@dataclass(frozen=True)
class Pictures:
    """Writes the videos and pictures of watched episodes of one checkpoint.

    Attributes:
        out: Their directory.
        task: The task's name.
        name: The policy's name.
        method: The saliency method.
        scale: Saliency at full heat.
        control_hz: Frames per second of the videos.
        checkpoint_sha256: Written into the overlay videos.
    """

    out: Path
    task: str
    name: str
    method: str
    scale: float
    control_hz: int
    checkpoint_sha256: str

    def write(self, episode: WatchedEpisode) -> Path:
        """Writes an episode's three files, prints a summary, and returns the path of the overlay video."""
        row = episode.result.row
        path = self.out / video_name(self.task, self.name, row["seed"])
        plain = [np.concatenate(list(frames), axis=1) for frames in episode.video.frames]
        overlaid = list(self._overlays(plain, episode))
        write_video(path, plain, row["success"], self.control_hz)
        overlay_path = path.with_name(f"{path.stem}-{self.method}.mp4")
        mark = checkpoint_mark(self.checkpoint_sha256)
        write_video(overlay_path, overlaid, row["success"], self.control_hz, mark)
        write_atomic(overlay_path.with_suffix(".png"), contact_sheet(plain, overlaid))
        share, area = episode.cue_shares()
        print(
            f"seed {row['seed']}: {episode.label} after {row['num_steps']} steps; "
            f"{share:.1%} of the saliency on the cue's {area:.1%} of the pixels; full heat {self.scale:.3g}; "
            f"{overlay_path}, with the plain video and a picture beside it"
        )
        return overlay_path

    def _overlays(self, plain: list[np.ndarray], episode: WatchedEpisode) -> Iterator[np.ndarray]:
        """Captioned overlays, one per frame."""
        for step, (frame_HWC, maps_NHW) in enumerate(zip(plain, episode.maps_SNHW, strict=True)):
            heat_HW = np.concatenate(list(maps_NHW), axis=1) / self.scale
            where = f"step {step} of {episode.result.row['num_steps']}: {episode.label}"
            title = f"{self.name}: {self.method}"
            yield captioned(overlay(frame_HWC, heat_HW), [title, where, f"full heat: {self.scale:.2g}"])
