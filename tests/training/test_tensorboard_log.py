from __future__ import annotations

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from smidgen.training.tensorboard_log import draw_predictions
from smidgen.training.validation import Predictions


def test_a_run_is_one_event_file_with_scalars_plot_and_hyperparameters(finished_run):
    assert len(list((finished_run / "tensorboard").rglob("*"))) == 1
    events = EventAccumulator(str(finished_run / "tensorboard"))
    events.Reload()
    scalars = set(events.Tags()["scalars"])
    train = {f"train/{name}" for name in ("loss", "grad_norm", "learning_rate", "examples_per_s")}
    per_coordinate = {f"validation/r2_{name}" for name in ("x_m", "y_m", "z_m")}
    measures = {f"validation/{name}" for name in ("loss", "skill_time_mean", "skill_persistence", "cue_slope")}
    assert scalars >= train | per_coordinate | measures
    assert [event.step for event in events.Scalars("validation/cue_slope")] == [0, 4, 8, 12]
    assert events.Tags()["images"] == ["validation/first_target_of_chunk"]
    assert "_hparams_/session_start_info" in events.summary_metadata


def test_the_plot_has_one_panel_per_coordinate():
    rng = np.random.default_rng(0)
    found = Predictions(*(rng.normal(size=(12, 8, 4)) for _ in range(3)), loss=0.1)
    image = draw_predictions(["x", "y", "z", "gripper"], found)
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert image.std() > 0
