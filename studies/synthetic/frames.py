"""python -m studies.synthetic.frames demos=DIR [out=FILE] [episodes=160] [history=3]

Writes the robot pictures of the ladder's ``frames`` rung from a data set of demonstrations, which smidgen-collect makes
(``smidgen-collect task=lift episodes=160 out=DIR``). Small CPU variant: the command itself, with any small data set.
Run time: seconds. Result: one file with the data set's hash inside; the same data set gives the same pictures.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from smidgen.data_collection.store import EpisodeStore
from smidgen.evaluation.collapse.labels import CUE
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.errors import UserError
from smidgen.runtime.places import require_outside
from smidgen.runtime.settings import PathText
from studies.synthetic.pictures import RobotPictures
from studies.synthetic.rungs import Array

USAGE = "python -m studies.synthetic.frames demos=DIR [key=value ...]"
SUMMARY = f"""\
Writes windows of grey pictures and the cue's place in each from a data set of demonstrations: of every episode its last
counterfactual pair, once as it was and once with the cue moved. The cue: {CUE}."""
# ITU-R BT.601 luma, in thousandths.
_LUMA = np.array([299, 587, 114], np.uint32)


@dataclass(frozen=True)
class FramesConfig:
    """Configuration of the command."""

    demos: PathText = field(metadata={"help": "data set of demonstrations, from smidgen-collect"})
    out: PathText = field(default="outputs/robot_pictures.npz", metadata={"help": "file to write"})
    episodes: int = field(default=160, metadata={"help": "episodes to take, the first of the successful ones"})
    history: int = field(default=3, metadata={"help": "frames of each window, the newest last"})

    def __post_init__(self) -> None:
        if self.episodes < 1 or self.history < 1:
            raise UserError(f"episodes and history should be at least 1, are {self.episodes} and {self.history}")


def main(argv: list[str] | None = None) -> int:
    """The command."""
    return run_command(_main, argv)


def _main(arguments: list[str]) -> None:
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, FramesConfig))
        return
    config = compose_config(FramesConfig, arguments)
    pictures = extract_pictures(EpisodeStore.open(config.demos), config.episodes, config.history)
    out = Path(config.out)
    require_outside(out)
    pictures.write(out)
    shape = " x ".join(map(str, pictures.pictures_EVTHW.shape))
    print(f"{out}: {shape} pictures (episodes, views, frames, rows, columns), {out.stat().st_size} bytes")


def extract_pictures(store: EpisodeStore, num_episodes: int, history: int) -> RobotPictures:
    """Takes the last counterfactual pair of each of the first successful episodes that have one, from the first camera.

    Raises:
        UserError: If there are too few, or their windows are shorter than ``history``.
    """
    with_pairs = {row["seed"] for row in store.manifest["episodes"] if row["num_counterfactuals"]}
    seeds = [seed for seed in store.training_seeds if seed in with_pairs][:num_episodes]
    stored = store.manifest["history"]
    if len(seeds) < num_episodes or stored < history:
        raise UserError(
            f"{store.directory} has {len(seeds)} successful episodes with counterfactual pairs of {stored} frames; "
            f"expected {num_episodes} and {history}: collect more, or ask for fewer"
        )
    parts = [store.counterfactuals([seed]) for seed in seeds]
    latest = [int(np.argmax(part["step"])) for part in parts]
    windows, cue_m = (
        np.stack([[part[name][pair] for name in names] for part, pair in zip(parts, latest, strict=True)])
        for names in (("frames", "frames_moved"), ("cue_pose", "cue_pose_moved"))
    )
    manifest = store.manifest
    provenance = {
        "data_set_sha256": store.sha256,
        "task": manifest["task"],
        "environment": manifest["environment"],
        "versions": manifest["versions"],
        "camera": manifest["cameras"][0],
        "seeds": seeds,
        "steps": [int(part["step"][pair]) for part, pair in zip(parts, latest, strict=True)],
    }
    return RobotPictures(_grey(windows[:, :, -history:, 0]), np.ascontiguousarray(cue_m[..., :2]), provenance)


def _grey(frames: Array) -> Array:
    return ((frames.astype(np.uint32) @ _LUMA + 500) // 1000).astype(np.uint8)


if __name__ == "__main__":
    sys.exit(main())
