"""The boards of track ``cpu-standard-1``: which recipes are run on which tasks, and which of them are compared.

Everything but the named difference is the same among the Perceivers of one number of steps: one network, one budget,
the same demonstrations and seeds. docs/protocol.md gives the reasons.
"""

from __future__ import annotations

from dataclasses import dataclass

from smidgen.evaluation.tracks import CPU_STANDARD_1, TRACKS
from smidgen.experiments.trial import Settings, Trial

TRACK = TRACKS[CPU_STANDARD_1]
STEPS, LONG_STEPS = 4_000, 12_000
SHARED: Settings = {"steps": STEPS, "num_threads": 1, "eval_every": 200, "save_every": 250}

# As the idea was first posted: nothing standardised, Fourier positions over the flattened pixels, which repeat.
POSTED: Settings = {"transform": "raw", "position_encoding": "aliased"}
# As docs/recipe.md gave it when the track was frozen: each latent starts with a window of its own, and half of a chunk
# is executed.
RECOMMENDED: Settings = {
    "transform": "raw",
    "standardise_after": "centre",
    "latent_start": "located",
    "window_nats": 10.0,
    "num_executed": 4,
}
CENTRED: Settings = {"standardise_after": "centre"}
ONE_D: Settings = {"position_encoding": "one_d"}

RECIPES: dict[str, Settings] = {
    "posted": POSTED,
    "raw": {"transform": "raw"},
    "raw-centred": {"transform": "raw", **CENTRED},
    "raw-centred-1d": {"transform": "raw", **CENTRED, **ONE_D},
    "dft1d": {"transform": "dft1d"},
    "dft1d-centred": {"transform": "dft1d", **CENTRED},
    "dft3d-centred": {"transform": "dft3d", **CENTRED},
    "recommended": RECOMMENDED,
    "cnn": {"policy": "cnn"},
    "hadamard-centred": {"transform": "hadamard", **CENTRED},
    "raw-token": {"transform": "raw", "standardise_after": "token"},
    "dft1d-token": {"transform": "dft1d", "standardise_after": "token"},
    "posted-beta0.999": {**POSTED, "betas": [0.999, 0.999]},
    "auto": {"transform": "auto"},
    "conv-stem": {"policy": "perceiver_conv_stem"},
    "vit": {"policy": "vit"},
    "cnn-rnn": {"policy": "cnn_rnn"},
    "recommended-long": {**RECOMMENDED, "steps": LONG_STEPS},
    "cnn-long": {"policy": "cnn", "steps": LONG_STEPS},
    "recommended-30": RECOMMENDED,
    "recommended-100": RECOMMENDED,
    "recommended-32px": RECOMMENDED,
    "cnn-30": {"policy": "cnn"},
    "cnn-100": {"policy": "cnn"},
    # Found after the track was frozen: what a token shows counts for more beside where it is (T21).
    "raw-centred-gain8": {"transform": "raw", **CENTRED, "content_gain": 8.0, "num_executed": 4},
}
# Recipes whose demonstrations are not the usual ones: fewer, or of smaller frames.
DEMONSTRATIONS: dict[str, Settings] = {
    "recommended-30": {"episodes": 30},
    "recommended-100": {"episodes": 100},
    "recommended-32px": {"image_size": 32},
    "cnn-30": {"episodes": 30},
    "cnn-100": {"episodes": 100},
}
# Recipes that take the learning rate of another.
RATE_OF = {name: name.partition("-")[0] for name in ("recommended-long", "cnn-long", *DEMONSTRATIONS)}

# The rate of every other recipe is searched on one task of each kind with one tuning seed, by held-out loss.
RATES = (3e-4, 1e-3, 3e-3)
TUNING_SEED = 1_000
PICTURES, ROBOTS = "speck_4", "lift"
PICTURE_TASKS = ("speck_4", "speck_16", "speck_64", "speck_noise", "blink", "stripes")


@dataclass(frozen=True)
class Board:
    """A table that is complete or not: every recipe on every task, with so many training seeds.

    Attributes:
        name: A letter.
        tasks: Its tasks.
        recipes: Names in :data:`RECIPES`.
        num_training_seeds: Fewer than the track's are marked as a partial entry.
    """

    name: str
    tasks: tuple[str, ...]
    recipes: tuple[str, ...]
    num_training_seeds: int = TRACK.num_training_seeds


BOARDS = (
    Board(
        "A",
        ("lift", "speck_4", "stripes"),
        (
            "posted",
            "raw",
            "raw-centred",
            "raw-centred-1d",
            "dft1d",
            "dft1d-centred",
            "dft3d-centred",
            "recommended",
            "cnn",
            "recommended-long",
            "cnn-long",
        ),
    ),
    Board(
        "B",
        ("door", "stack", "pick_place_can", "speck_noise", "blink"),
        ("posted", "dft1d-centred", "recommended", "cnn"),
        num_training_seeds=3,
    ),
    Board(
        "C",
        ("lift", "speck_4"),
        (
            "posted-beta0.999",
            "raw-token",
            "dft1d-token",
            "hadamard-centred",
            "conv-stem",
            "vit",
            "cnn-rnn",
            "auto",
            "recommended-30",
            "recommended-100",
            "recommended-32px",
            "cnn-30",
            "cnn-100",
        ),
        num_training_seeds=3,
    ),
    # Added on 2026-11-30, after the freeze and after results of board A; nothing of boards A to C depends on it.
    Board("D", ("lift", "speck_4", "stripes"), ("raw-centred-gain8",)),
)
# Blind and privileged references, on every task.
REFERENCES = ("expert", "time_mean", "mean_action", "noop", "random")
# What is tested, on each task of board A, with Holm's correction over all of them; the rest is descriptive.
COMPARISONS = (
    ("posted", "dft1d-centred", "the post's recipe against the policy that it was to mend"),
    ("raw", "raw-centred", "what centring alone buys"),
    ("raw-centred-1d", "dft1d-centred", "what the transform alone buys, at matched positions"),
    ("recommended", "cnn", "the recommended Perceiver against the usual choice"),
)
# The same for board D, with a Holm correction of their own.
ADDED_COMPARISONS = (
    ("raw-centred-gain8", "recommended", "a gain of the content instead of windows"),
    ("raw-centred-gain8", "cnn", "a Perceiver with that gain against the usual choice"),
)


def tuning_task(task: str) -> str:
    """The task on which the rate for a task is searched."""
    return PICTURES if task in PICTURE_TASKS else ROBOTS


def build_trial(recipe: str, task: str, seed: int, lr: float) -> Trial:
    """One training of a recipe.

    Args:
        recipe: A name in :data:`RECIPES`.
        task: Its task.
        seed: Training seed.
        lr: Learning rate.
    """
    training = {"policy": "perceiver", **SHARED, **RECIPES[recipe], "seed": seed, "lr": lr}
    demonstrations = DEMONSTRATIONS.get(recipe, {})
    return Trial(task=task, label=f"{recipe}-seed{seed}", training=training, demonstrations=demonstrations)
