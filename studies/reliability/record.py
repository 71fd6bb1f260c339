"""What the calibration of the watch over frames found, as one JSON record."""

from __future__ import annotations

from dataclasses import dataclass

from smidgen.runtime.schemas import read_versioned

RECORD_VERSION = 1


@dataclass(frozen=True)
class Watched:
    """The watch's results on one task's sound episodes.

    Attributes:
        episodes: How many by each policy.
        frames: Frames of them all.
        alarms: Episodes that it stopped, each a false alarm.
        largest_unseen_move_m: The farthest that the end effector moved in view while a picture stayed as it was.
    """

    episodes: dict[str, int]
    frames: int
    alarms: int
    largest_unseen_move_m: float

    @property
    def num_episodes(self) -> int:
        """Episodes of all policies."""
        return sum(self.episodes.values())


@dataclass(frozen=True)
class Viewed:
    """The same through other cameras, in frames of another size.

    Attributes:
        task: The task.
        cameras: Their names.
        image_size: Pixels along a side.
        limit_m: The movement from which the watch stops an episode, at that size; None where frames are too small.
        watched: The watch's result.
    """

    task: str
    cameras: tuple[str, ...]
    image_size: int
    limit_m: float | None
    watched: Watched


@dataclass(frozen=True)
class Noticed:
    """What became of one way of breaking the renderer.

    Attributes:
        injected: Episodes in which it was broken.
        by_the_watch: Of them, those stopped at a frame.
        at_the_end: Of them, those refused once they were over, because a known picture had changed.
        most_frames: Wrong frames at most until the episode was stopped; None where the watch never stopped one.
    """

    injected: int
    by_the_watch: int
    at_the_end: int
    most_frames: int | None


@dataclass(frozen=True)
class Cost:
    """What the checks cost on the task on which renderers are broken.

    Attributes:
        watch_us: Microseconds of processor time of the watch, and of proving that a picture was read, a frame.
        confirm_ms: Milliseconds of the check at an episode's end.
        step_ms: Milliseconds of a control step with its frame and all checks.
        steps: Control steps of the measured episodes.
        episodes: Their number.
    """

    watch_us: float
    confirm_ms: float
    step_ms: float
    steps: int
    episodes: int

    @property
    def watch_share(self) -> float:
        """The watch's share of a control step's time."""
        return 1e-3 * self.watch_us / self.step_ms

    @property
    def confirm_steps(self) -> float:
        """How many control steps the check at an episode's end takes as long as."""
        return self.confirm_ms / self.step_ms


@dataclass(frozen=True)
class PixelsRecord:
    """The whole record; ``limit_m`` is the movement from which the watch stops an episode."""

    version: int
    machine: str
    commit: str
    image_size: int
    limit_m: float
    tasks: dict[str, Watched]
    views: tuple[Viewed, ...]
    faults: dict[str, Noticed]
    cost: Cost


def read_pixels_record(path: str) -> PixelsRecord:
    """Reads a record.

    Raises:
        UserError: If the file is missing or no such record, naming the field.
    """
    return read_versioned(PixelsRecord, path, RECORD_VERSION)
