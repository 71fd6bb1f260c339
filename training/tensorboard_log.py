"""A run's TensorBoard log: scalars, prediction plots, and its row of the hyperparameter table, in one event file."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from smidgen.training.validation import Predictions

SUMMARY_METRICS = ("loss", "r2_mean", "skill_time_mean", "skill_persistence", "cue_slope", "escape_step")


def _wait_for_a_later_second(directory: Path) -> None:
    """Event files are read in the order of their names, which count whole seconds: a resumed run's must come last."""
    stamps = [path.name.split(".")[3] for path in directory.glob("events.out.tfevents.*")]
    newest_s = max((int(stamp) for stamp in stamps if stamp.isdecimal()), default=0)
    time.sleep(min(1.0, max(0.0, newest_s + 1 - time.time())))


class TensorBoardLog:
    """Writes one run's events.

    Args:
        directory: Directory of the event files.
        coordinates: Names of the position coordinates, for R^2 per coordinate.
        first_step: Events that an earlier, killed process logged from this step on are hidden.
    """

    def __init__(self, directory: Path, coordinates: Sequence[str], first_step: int) -> None:
        self._coordinates = coordinates
        _wait_for_a_later_second(directory)
        self._writer = SummaryWriter(str(directory), purge_step=first_step)

    def scalars(self, split: str, step: int, values: Mapping[str, float | int | None]) -> None:
        """Adds scalars under ``split/name``; None is skipped."""
        for name, value in values.items():
            if value is not None:
                self._writer.add_scalar(f"{split}/{name}", value, step)

    def validation(self, row: Mapping[str, Any]) -> None:
        """Adds a validation row, with R^2 per coordinate."""
        flat = {name: value for name, value in row.items() if not isinstance(value, list | str) and name != "step"}
        for name in ("r2", "explained_variance", "prediction_variance_ratio"):
            flat |= {
                f"{name}_{coordinate}": value for coordinate, value in zip(self._coordinates, row[name], strict=True)
            }
        self.scalars("validation", row["step"], flat)
        self._writer.flush()

    def prediction_plot(self, step: int, names: Sequence[str], predictions: Predictions) -> None:
        """Adds a plot of the chunks' first targets along one episode: expert, policy and blind time-mean."""
        figure = draw_predictions(names, predictions)
        self._writer.add_image("validation/first_target_of_chunk", figure, step, dataformats="HWC")

    def hyperparameters(self, settings: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        """Adds the run's row of the table; SummaryWriter.add_hparams would create a second run for it."""
        values = {
            key: value if isinstance(value, bool | int | float | str) else str(value) for key, value in settings.items()
        }
        metrics = {f"validation/{name}": row[name] for name in SUMMARY_METRICS if row.get(name) is not None}
        for summary in hparams(values, metrics):
            self._writer._get_file_writer().add_summary(summary)

    def close(self) -> None:
        """Flushes and closes the event file."""
        self._writer.close()


def draw_predictions(names: Sequence[str], predictions: Predictions) -> np.ndarray:
    """Draws one panel per action coordinate: uint8 (height, width, 3)."""
    figure = Figure(figsize=(7, 1.6 * len(names)), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = np.atleast_1d(figure.subplots(len(names), 1, sharex=True))
    lines = {
        "expert": predictions.targets_NHA,
        "policy": predictions.predicted_NHA,
        "time-mean": predictions.time_mean_NHA,
    }
    for index, (panel, name) in enumerate(zip(panels, names, strict=True)):
        for (label, values_NHA), style in zip(lines.items(), ("k-", "C0-", "C7:"), strict=True):
            panel.plot(values_NHA[:, 0, index], style, label=label)
        panel.set_ylabel(name)
    panels[0].legend(loc="upper right", ncols=3, fontsize="small")
    panels[-1].set_xlabel("control step")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
