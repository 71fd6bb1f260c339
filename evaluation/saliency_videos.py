"""smidgen-eval saliency policy=outputs/lift/raw out=outputs/saliency

What a checkpoint looks at while it acts: for one success and one failure, the plain video and beside it the same
episode under a heat map of the frames' pixels (policies/saliency.py), and a picture of a few moments.
On a 2-core CPU a success and a failure of Lift take about a minute, ``seeds=[0] method=attention`` a quarter of it. It
ends with a line per episode that says what share of the saliency lies on the cue.

Letters: ``S`` frames of an episode (at reset and after every step), ``N`` cameras, ``H W`` rows and columns.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smidgen.envs.user_tasks import running_task
from smidgen.evaluation.env_spec import make_simulator, task_of_file
from smidgen.evaluation.heat_maps import captioned, contact_sheet, overlay
from smidgen.evaluation.protocol import SPLITS, evaluation_seeds
from smidgen.evaluation.records import Record, read_record
from smidgen.evaluation.rollout import EpisodeResult, rollout
from smidgen.evaluation.video_files import checkpoint_mark, video_name
from smidgen.evaluation.videos import write_video
from smidgen.policies.checkpoint import checkpoint_sha256, load_checkpoint
from smidgen.policies.learned_policy import LearnedPolicy, cameras_to_channels, one_thread
from smidgen.policies.saliency import METHODS, policy_saliency
from smidgen.runtime.command_line import command_help, compose_config, wants_help
from smidgen.runtime.errors import UserError, unknown_name
from smidgen.runtime.files import write_atomic
from smidgen.runtime.places import require_outside
from smidgen.runtime.settings import PathText

USAGE = "smidgen-eval saliency policy=CHECKPOINT out=DIR [key=value ...]"
SUMMARY = """
Films what a checkpoint looks at. For each episode it writes OUT/<task>-<name>-<seed>.mp4, the plain video;
the same with -<method>.mp4, as long, under a heat map of the pixels; and -<method>.png, a few moments of both.
Without seeds= it takes one success and one failure: out of record=, where a collapsed episode goes before
any other failure, or by trying seeds of the split.
"""
# Pixels above this quantile of all videos' saliency are shown alike; a few glaring ones would leave the rest dark.
FULL_HEAT_QUANTILE = 0.995
COLLAPSED = "collapsed"


@dataclass(frozen=True)
class SaliencyConfig:
    """Which checkpoint to watch, in which episodes, and by which method."""

    policy: PathText = field(metadata={"help": "a checkpoint, or the training run that it ended"})
    out: PathText = field(metadata={"help": "directory of the videos and pictures"})
    task: str = field(default="", metadata={"help": "the checkpoint's, if it is your module:Class"})
    transform: str | None = field(default=None, metadata={"help": "the checkpoint's, if it is your module:Class"})
    method: str = field(default="input", metadata={"help": f"saliency: {', '.join(METHODS)} (smooth: 8 times as long)"})
    record: PathText | None = field(default=None, metadata={"help": "the checkpoint's record, to choose episodes from"})
    seeds: tuple[int, ...] = field(default=(), metadata={"help": "episodes, as seeds or offsets inside the split"})
    split: str = field(default="checkpoint", metadata={"help": f"seeds: {', '.join(SPLITS)}; record= brings its own"})
    episodes: int = field(default=20, metadata={"help": "seeds to try for a success and a failure, at most"})
    scale: float | None = field(
        default=None, metadata={"help": "saliency at full heat, to compare runs; null: from this run's videos"}
    )

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise unknown_name("saliency method", self.method, METHODS)
        if self.record is not None and self.seeds:
            raise UserError("record= chooses the episodes, and so does seeds=; give one of the two")
        if self.scale is not None and not self.scale > 0:
            raise UserError(f"expected scale above 0, got {self.scale}; null takes it from the videos")


class EpisodeFilm:
    """All that is needed to see an episode again through the policy's eyes. A `rollout.Recorder`."""

    def __init__(self) -> None:
        self.frames: list[np.ndarray] = []
        self.eef_states: list[np.ndarray] = []
        self.cue_masks: list[np.ndarray] = []

    def capture(self, env: Any) -> None:
        """Takes frames (N, H, W, 3), the end-effector's state, and the pixels (N, H, W) that the cue changes."""
        world = env.unwrapped
        self.frames.append(world.render_frames())
        self.eef_states.append(np.asarray(world.eef_state(), dtype=np.float64))
        with world.cue_hidden():
            self.cue_masks.append((world.render_frames() != self.frames[-1]).any(-1))


@dataclass(frozen=True, eq=False)
class Watched:
    """An episode, its film, its maps (S, N, H, W), and what its outcome is called."""

    result: EpisodeResult
    film: EpisodeFilm
    maps_SNHW: np.ndarray
    label: str

    def cue_shares(self) -> tuple[float, float]:
        """Share of the saliency (0 if there is none) and of the pixels that lie on the cue."""
        cue_SNHW = np.stack(self.film.cue_masks)
        total = float(self.maps_SNHW.sum(dtype=np.float64))
        on_cue = float(self.maps_SNHW[cue_SNHW].sum(dtype=np.float64))
        return on_cue / total if total > 0 else 0.0, float(cue_SNHW.mean())


def episode_maps(policy: LearnedPolicy, film: EpisodeFilm, method: str) -> np.ndarray:
    """Saliency of every frame's pixels (S, N, H, W), float32.

    A map is what the policy saw in when it last predicted a chunk: it stays for ``num_executed`` frames. The frames of
    the policy's history are merged by their norm.
    """
    frames_SHWC = cameras_to_channels(np.stack(film.frames))
    num_seen, num_executed = policy.config.num_frames, policy.config.num_executed
    num_actions = max(1, len(frames_SHWC) - 1)
    looks = []
    with one_thread():
        for step in range(0, num_actions, num_executed):
            window_T = np.maximum(step + np.arange(1 - num_seen, 1), 0)
            state = torch.from_numpy(film.eef_states[step]) if policy.config.use_eef_state else None
            maps_THWN = policy_saliency(policy, torch.from_numpy(frames_SHWC[window_T]), state, method)
            looks.append(maps_THWN.square().sum(0).sqrt().movedim(-1, 0).float().cpu().numpy())
    last_look = np.minimum(np.arange(len(frames_SHWC)) // num_executed, len(looks) - 1)
    return np.stack(looks)[last_look]


def chosen_seeds(record: Record) -> list[int]:
    """The first success of a record, and its first collapsed episode, or else its first failure."""
    successes = [row for row in record["episodes"] if row["success"]]
    failures = [row for row in record["episodes"] if not row["success"]]
    failures.sort(key=lambda row: row["label"] != COLLAPSED)
    return [row["seed"] for row in (*successes[:1], *failures[:1])]


def watch(config: SaliencyConfig, make: Callable[..., Any] = make_simulator) -> list[Path]:
    """Runs the episodes and writes their videos and pictures.

    Args:
        config: What to watch.
        make: Makes the environment, from task, cameras and image size.

    Returns:
        The overlay videos.

    Raises:
        UserError: For a policy that is no checkpoint, a record of another one, a method that does not apply, or seeds
            outside the split.
    """
    mark = checkpoint_mark(checkpoint_sha256(config.policy))
    policy = load_checkpoint(config.policy, transform=config.transform)
    record = _open_record(config)
    seeds = _wanted_seeds(config, record)
    _require_method(policy, config.method)
    interface = policy.interface
    task = task_of_file(interface.task, config.task, f"{config.policy} was trained with")
    with (
        contextlib.closing(make(task, interface.cameras, interface.image_size)) as env,
        running_task(task, "an episode"),
    ):
        wanted = {seed: _film(env, policy, seed) for seed in seeds} if seeds else _search(config, env, policy)
        control_hz = env.unwrapped.task.control_hz
    labels = {row["seed"]: row["label"] for row in record["episodes"]} if record else {}
    watched = []
    for seed, (result, film) in wanted.items():
        label = _label(result, labels.get(seed))
        watched.append(Watched(result, film, episode_maps(policy, film, config.method), label))
    name = record["policy"]["name"] if record else policy.name
    scale = config.scale or _full_heat(watched)
    return [_write(config, interface.task, name, episode, scale, control_hz, mark) for episode in watched]


def _open_record(config: SaliencyConfig) -> Record | None:
    if config.record is None:
        return None
    record = read_record(config.record)
    if record["policy"]["checkpoint_sha256"] != checkpoint_sha256(config.policy):
        raise UserError(
            f"{config.record} is the record of another policy ({record['policy']['name']!r}) than {config.policy}; "
            "expected one of this checkpoint"
        )
    return record


def _wanted_seeds(config: SaliencyConfig, record: Record | None) -> list[int]:
    """The seeds that are known before the first episode; none where they are to be searched for."""
    if record is not None:
        return chosen_seeds(record)
    if not config.seeds:
        evaluation_seeds(config.split, 0, config.episodes)
    return [evaluation_seeds(config.split, seed, 1)[0] for seed in config.seeds]


def _require_method(policy: LearnedPolicy, method: str) -> None:
    """Refuses a method that does not apply before the simulator starts."""
    state = torch.zeros(len(policy.interface.eef_state_names)) if policy.config.use_eef_state else None
    policy_saliency(policy, torch.zeros(policy.network.frame_shape, dtype=torch.uint8), state, method)


def _film(env: Any, policy: LearnedPolicy, seed: int) -> tuple[EpisodeResult, EpisodeFilm]:
    film = EpisodeFilm()
    result = rollout(env, policy, seed, film)
    if not film.frames:
        raise UserError(f"seed {seed} failed before its first frame ({result.error}); choose another with seeds=[...]")
    return result, film


def _search(config: SaliencyConfig, env: Any, policy: LearnedPolicy) -> dict[int, tuple[EpisodeResult, EpisodeFilm]]:
    """The first success and the first failure among the split's first seeds, as far as there are any."""
    found: dict[bool, tuple[EpisodeResult, EpisodeFilm]] = {}
    for seed in evaluation_seeds(config.split, 0, config.episodes):
        episode = _film(env, policy, seed)
        found.setdefault(episode[0].row["success"], episode)
        if len(found) == 2:
            break
    else:
        missing = "failure" if True in found else "success"
        print(f"warning: no {missing} in {config.episodes} episodes; episodes=... tries more", file=sys.stderr)
    return {episode[0].row["seed"]: episode for _, episode in sorted(found.items(), reverse=True)}


def _label(result: EpisodeResult, recorded: str | None) -> str:
    """What the episode's outcome is called; collapse shows beside other episodes only, so a record knows better."""
    if recorded is None or recorded == result.row["label"]:
        return result.row["label"]
    if recorded == COLLAPSED and not result.row["success"]:
        return recorded
    print(
        f"warning: seed {result.row['seed']} ended here with {result.row['label']!r}, in the record with {recorded!r}; "
        "another machine gives other last bits",
        file=sys.stderr,
    )
    return result.row["label"]


def _full_heat(watched: list[Watched]) -> float:
    """Saliency that is shown at full heat; 1 where there is none at all, and nothing will glow."""
    values = np.concatenate([episode.maps_SNHW.ravel() for episode in watched])
    return float(np.quantile(values, FULL_HEAT_QUANTILE)) or float(values.max()) or 1.0


def _write(
    config: SaliencyConfig, task: str, name: str, episode: Watched, scale: float, control_hz: int, mark: str
) -> Path:
    """Writes an episode's three files and says so."""
    result = episode.result
    path = Path(config.out) / video_name(task, name, result.row["seed"])
    plain = [np.concatenate(list(frames), axis=1) for frames in episode.film.frames]
    overlaid = list(_overlays(plain, episode, f"{name}: {config.method}", scale))
    write_video(path, plain, result.row["success"], control_hz)
    overlay_path = path.with_name(f"{path.stem}-{config.method}.mp4")
    write_video(overlay_path, overlaid, result.row["success"], control_hz, mark)
    write_atomic(overlay_path.with_suffix(".png"), contact_sheet(plain, overlaid))
    share, area = episode.cue_shares()
    print(
        f"seed {result.row['seed']}: {episode.label} after {result.row['num_steps']} steps; "
        f"{share:.1%} of the saliency on the cue's {area:.1%} of the pixels; full heat {scale:.3g}; {overlay_path}, "
        "beside it the plain video and a picture"
    )
    return overlay_path


def _overlays(plain: list[np.ndarray], episode: Watched, title: str, scale: float) -> Iterator[np.ndarray]:
    """Captioned overlays, one per frame."""
    for step, (frame_HWC, maps_NHW) in enumerate(zip(plain, episode.maps_SNHW, strict=True)):
        heat_HW = np.concatenate(list(maps_NHW), axis=1) / scale
        where = f"step {step} of {episode.result.row['num_steps']}: {episode.label}"
        yield captioned(overlay(frame_HWC, heat_HW), [title, where, f"full heat: {scale:.2g}"])


def saliency(arguments: list[str]) -> None:
    """Body of the command.

    Raises:
        UserError: For a mistake in the arguments.
    """
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, SaliencyConfig))
        return
    config = compose_config(SaliencyConfig, arguments)
    require_outside(config.out)
    watch(config)
