"""The arms of the search: a task, demonstrations, a training, and how the trained policy acts.

How many steps of a chunk are executed does not change training, so arms that differ only in that share one training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from smidgen.experiments.trial import Settings, Trial

# Every training: one seed, one thread; validation measures little of a run's time at this interval.
SHARED: Settings = {"steps": 6000, "seed": 0, "num_threads": 1, "eval_every": 200, "save_every": 250}
PERCEIVER: Settings = {"policy": "perceiver", "transform": "raw", "standardise_after": "centre"}
CNN: Settings = {"policy": "cnn"}
PICTURE_STEPS = 2500
FRAMES_8: Settings = {"num_frames": 8}
HISTORY_8: Settings = {"history": 8}
LOCATED: Settings = {"latent_start": "located"}
LOCATED10: Settings = {**LOCATED, "window_nats": 10.0}
PER_TOKEN: Settings = {"standardise_after": "token"}
SHARP: Settings = {"query_gain": 4.0}
UNCAPPED: Settings = {"input_layer_norm": False}
CLASSIFIED: Settings = {"gripper_loss": "classification"}
AVERAGED: Settings = {"ema_decay": 0.999}
VARIED: Settings = {"expert_variation": 0.5}
NOISY: Settings = {"action_noise_m": 0.01}
DROPOUT: Settings = {"history_dropout": 0.5}
GAIN8: Settings = {"content_gain": 8.0}
# One axis of 6,145 tokens has 46 times as many features and twice the content. As large a share as 8 has with per-axis
# positions would be 38 by squares and 185 by absolute values (T21).
GAIN64: Settings = {"content_gain": 64.0}
POSTED: Settings = {"policy": "perceiver", "transform": "raw", "position_encoding": "aliased"}
DFT: Settings = {"policy": "perceiver", "transform": "dft1d", "standardise_after": "centre"}
WRIST: Settings = {"cameras": ["agentview", "robot0_eye_in_hand"]}


@dataclass(frozen=True, kw_only=True)
class Lever:
    """What is changed about a policy and its training.

    Attributes:
        reason: Why it is tried, in a line.
        training: Keys of ``smidgen-train``, beside those that all arms share.
        demonstrations: Keys of ``smidgen-collect``.
    """

    reason: str
    training: Settings
    demonstrations: Settings = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Arm(Trial):
    """One setting of the search; its label is what is changed, a name in :data:`LEVERS`.

    Attributes:
        reason: Why it is tried.
    """

    reason: str


ACTING: dict[str, tuple[str, Settings]] = {
    "executed4": ("fewer looks: no time to waver at the grasp", {"num_executed": 4}),
    "executed8": ("whole chunks", {"num_executed": 8}),
    "ensembled": ("means of overlapping chunks are smoother", {"temporal_ensembling": 0.01}),
}


def repeated(name: str, reason: str, training: Settings, seeds: Sequence[int] = (0, 1, 2)) -> dict[str, Lever]:
    """A lever with several training seeds; the first one has the name alone, the others ``name.seedN``."""
    names = {seed: name if seed == 0 else f"{name}.seed{seed}" for seed in seeds}
    return {name: Lever(reason=reason, training={**training, "seed": seed}) for seed, name in names.items()}


LEVERS: dict[str, Lever] = {
    "perceiver": Lever(reason="the leaderboard's Perceiver, with more steps", training={**PERCEIVER}),
    "cnn": Lever(reason="what most people would train first", training=CNN),
    "cnn.slow": Lever(reason="its rate may be too high", training={**CNN, "lr": 3e-4}),
    "ema": Lever(reason="averaged weights act more steadily", training={**PERCEIVER, **AVERAGED}),
    "located": Lever(reason="latents that start with a window each", training={**PERCEIVER, **LOCATED}),
    "located10": Lever(
        reason="narrower windows, with more of the weight on the peak",
        training={**PERCEIVER, **LOCATED10},
    ),
    "located16": Lever(reason="windows narrower still", training={**PERCEIVER, **LOCATED, "window_nats": 16.0}),
    "located10.token": Lever(
        reason="windows on tokens in which a rare dot is large",
        training={**PERCEIVER, **LOCATED10, **PER_TOKEN},
    ),
    "located10.latents64": Lever(
        reason="twice as many windows", training={**PERCEIVER, **LOCATED10, "num_latents": 64}
    ),
    "token": Lever(
        reason="a pixel that seldom changes is divided by little, so a rare dot becomes large",
        training={**PERCEIVER, **PER_TOKEN},
    ),
    "sharp": Lever(
        reason="a sharper first attention, some of it by chance on the dot", training={**PERCEIVER, **SHARP}
    ),
    "sharp.token": Lever(reason="both", training={**PERCEIVER, **SHARP, **PER_TOKEN}),
    "uncapped": Lever(reason="without the LayerNorm that limits a token's content", training={**PERCEIVER, **UNCAPPED}),
    "uncapped.token": Lever(
        reason="the largest contrast between the dot and the table", training={**PERCEIVER, **UNCAPPED, **PER_TOKEN}
    ),
    "classified": Lever(reason="closing is a decision, not a mean", training={**PERCEIVER, **CLASSIFIED}),
    "border": Lever(
        reason="few steps decide the grasp, and their loss is small", training={**PERCEIVER, "border_weight": 4.0}
    ),
    "shift": Lever(reason="the usual remedy for few demonstrations", training={**PERCEIVER, "random_shift_px": 2}),
    "noisy": Lever(
        reason="demonstrations that recover from where the expert would not have been",
        training={**PERCEIVER},
        demonstrations=NOISY,
    ),
    "varied": Lever(
        reason="demonstrations of several paces and approaches", training={**PERCEIVER}, demonstrations=VARIED
    ),
    "wrist": Lever(reason="the grasp seen from near", training={**PERCEIVER}, demonstrations=WRIST),
    "state": Lever(
        reason="the arm felt, half of the time, so that it must look as well",
        training={**PERCEIVER, "use_eef_state": True, "eef_state_dropout": 0.5},
    ),
    "conv_stem": Lever(reason="tokens of patches, as is common", training={"policy": "perceiver_conv_stem"}),
    "second_look": Lever(
        reason="queries that depend on a first look", training={**PERCEIVER, "num_cross_attentions": 2}
    ),
    "latents64": Lever(reason="a wider bottleneck", training={**PERCEIVER, "num_latents": 64}),
    "steps12000": Lever(reason="more steps alone", training={**PERCEIVER, "steps": 12000}),
    "vit": Lever(reason="a transformer over patches, for the same time", training={"policy": "vit", "steps": 2000}),
    "cnn_rnn": Lever(
        reason="BC-RNN, the usual baseline, for the same time",
        training={"policy": "cnn_rnn", "steps": 1500},
        demonstrations=HISTORY_8,
    ),
    "cnn.all": Lever(
        reason="the same levers on the CNN", training={**CNN, **AVERAGED, **CLASSIFIED, "border_weight": 4.0}
    ),
    "steady": Lever(
        reason="the three levers that cost nothing", training={**PERCEIVER, **AVERAGED, **LOCATED, **CLASSIFIED}
    ),
    "steady.border": Lever(
        reason="these with the grasp's weight",
        training={**PERCEIVER, **AVERAGED, **LOCATED, **CLASSIFIED, "border_weight": 4.0},
    ),
    "steady.noisy": Lever(
        reason="these with recoveries",
        training={**PERCEIVER, **AVERAGED, **LOCATED, **CLASSIFIED},
        demonstrations=NOISY,
    ),
    "steady.wrist": Lever(
        reason="these with the grasp seen from near",
        training={**PERCEIVER, **AVERAGED, **LOCATED, **CLASSIFIED},
        demonstrations=WRIST,
    ),
    **repeated("located10.again", "the same, with other seeds", {**PERCEIVER, **LOCATED10}, (1, 2)),
    **repeated(
        "located10.one_frame",
        "without earlier frames, whose motion tells where the expert is going",
        {**PERCEIVER, **LOCATED10, "num_frames": 1},
    ),
    **repeated(
        "located10.dropout",
        "half of the time without that motion, with as many tokens",
        {**PERCEIVER, **LOCATED10, **DROPOUT},
    ),
    **repeated("one_frame", "without that motion and without windows", {**PERCEIVER, "num_frames": 1}),
    **repeated("dropout", "half of the time without that motion, without windows", {**PERCEIVER, **DROPOUT}),
    **repeated("perceiver.again", "the same, with other seeds", PERCEIVER, (1, 2)),
    **repeated("cnn.again", "the same, with other seeds", CNN, (1, 2)),
    **repeated("cnn.one_frame", "without that motion", {**CNN, "num_frames": 1}),
    **repeated("cnn.dropout", "half of the time without that motion", {**CNN, **DROPOUT}),
    **repeated("gain8", "what a token shows beside where it is (T21), without windows", {**PERCEIVER, **GAIN8}),
    **repeated("located10.gain8", "the same with windows", {**PERCEIVER, **LOCATED10, **GAIN8}),
    "gain2": Lever(reason="a little more of it", training={**PERCEIVER, "content_gain": 2.0}),
    "gain32": Lever(reason="much more of it", training={**PERCEIVER, "content_gain": 32.0}),
    "dft3d.gain8": Lever(
        reason="the same beside a transform", training={**PERCEIVER, "transform": "dft3d", "content_gain": 8.0}
    ),
    "uncentred.gain8": Lever(
        reason="is centring needed as well?", training={"policy": "perceiver", "transform": "raw", **GAIN8}
    ),
    "aliased.gain8": Lever(
        reason="are positions per axis needed as well?",
        training={**PERCEIVER, "position_encoding": "aliased", **GAIN8},
    ),
    "posted.gain8": Lever(reason="is it enough for raw tokens as the post had them?", training={**POSTED, **GAIN8}),
    "dft1d": Lever(reason="the post's remedy, whose positions have thousands of features", training=DFT),
    "dft1d.gain64": Lever(
        reason="the same with a gain between those that match gain8's two shares (38 and 185)",
        training={**DFT, **GAIN64},
    ),
    "frames1": Lever(reason="one frame", training={**PERCEIVER, "num_frames": 1}, demonstrations=HISTORY_8),
    "frames3": Lever(reason="three frames, on the same data", training={**PERCEIVER}, demonstrations=HISTORY_8),
    "frames8": Lever(reason="eight frames", training={**PERCEIVER, **FRAMES_8}, demonstrations=HISTORY_8),
}

# Task, lever and way of acting, in the order in which they are run: the first five core-hours answer the most.
# fmt: off
ORDER = (
    "pick_place_can/cnn", "speck_4/perceiver", "speck_4/located", "pick_place_can/perceiver",
    "pick_place_can/perceiver/executed4", "lift/cnn", "lift/perceiver", "lift/perceiver/executed4", "speck_4/cnn",
    "pick_place_can/cnn/executed4", "pick_place_can/perceiver/executed8", "pick_place_can/perceiver/ensembled",
    "lift/perceiver/executed8", "lift/cnn/executed4", "lift/cnn/executed8", "pick_place_can/cnn/executed8",
    "pick_place_can/ema/executed4", "pick_place_can/located/executed4", "pick_place_can/classified/executed4",
    "speck_4/located10", "speck_4/located16", "speck_4/located10.token", "speck_4/located10.latents64",
    "lift/located10/executed4", "speck_4/located10/executed4", "stripes/perceiver/executed4",
    "stripes/located10/executed4", "blink/located10/executed4", "speck_noise/located10/executed4", "speck_4/token",
    "speck_4/sharp", "speck_4/sharp.token", "speck_4/uncapped", "speck_4/uncapped.token",
    "pick_place_can/steady/executed4", "lift/ema/executed4", "lift/located/executed4",
    "lift/classified/executed4", "pick_place_can/border/executed4", "pick_place_can/cnn.slow/executed4",
    "lift/cnn.slow/executed4", "pick_place_can/noisy/executed4", "pick_place_can/wrist/executed4",
    "pick_place_can/shift/executed4", "lift/steady/executed4", "lift/border/executed4", "lift/noisy/executed4",
    "speck_4/second_look", "speck_4/conv_stem", "pick_place_can/second_look/executed4",
    "pick_place_can/conv_stem/executed4", "pick_place_can/located10/executed4", "pick_place_can/state/executed4",
    "pick_place_can/varied/executed4", "lift/shift/executed4", "lift/wrist/executed4", "lift/conv_stem/executed4",
    "lift/second_look/executed4", "pick_place_can/steps12000/executed4", "pick_place_can/cnn.all/executed4",
    "pick_place_can/steady.border/executed4", "pick_place_can/steady.noisy/executed4", "lift/steady.noisy/executed4",
    "pick_place_can/steady.wrist/executed4", "pick_place_can/latents64/executed4", "pick_place_can/vit/executed4",
    "lift/vit/executed4", "pick_place_can/cnn_rnn/executed4", "blink/frames1", "blink/frames3", "blink/frames8",
    "lift/frames1/executed4", "lift/frames3/executed4", "lift/frames8/executed4",
    # Does the motion in the stack of frames hide the cue? Seed by seed.
    *(
        f"speck_4/{lever}{seed}"
        for seed in ("", ".seed1", ".seed2")
        for lever in (
            "located10.dropout", "located10.one_frame", "located10.again", "dropout", "one_frame", "cnn.dropout",
            "cnn.one_frame", "cnn.again",
        )
        if f"{lever}{seed}" in LEVERS
    ),
    # Do positions drown what tokens show?
    "speck_4/located10.gain8", "speck_4/gain8", "speck_4/gain8.seed1", "speck_4/gain8.seed2", "speck_4/posted.gain8",
    "speck_4/perceiver.again.seed1", "speck_4/perceiver.again.seed2", "speck_4/uncentred.gain8",
    "speck_4/aliased.gain8",
    "speck_4/dft1d", "speck_4/dft1d.gain64", "lift/gain8/executed4", "stripes/gain8/executed4",
    "pick_place_can/gain8/executed4", "speck_noise/gain8/executed4", "blink/gain8/executed4", "speck_4/gain2",
    "speck_4/gain32", "speck_4/dft3d.gain8", "speck_4/located10.gain8.seed1", "speck_4/located10.gain8.seed2",
    "pick_place_can/dropout/executed4", "pick_place_can/cnn.dropout/executed4",
    "pick_place_can/located10.dropout/executed4", "lift/cnn.dropout/executed4", "lift/located10.dropout/executed4",
)
# fmt: on
STEPS = dict.fromkeys(("speck_4", "blink", "stripes", "speck_noise"), PICTURE_STEPS)


def build_arms() -> dict[str, Arm]:
    """The arms by name, in the order in which they are run."""
    return {place.replace("/", "."): build_arm(*place.split("/")) for place in ORDER}


def build_arm(task: str, lever: str, acting: str = "") -> Arm:
    """One arm.

    Args:
        task: Its task.
        lever: A name in :data:`LEVERS`.
        acting: A name in :data:`ACTING`, or empty for the policy's own.
    """
    chosen = LEVERS[lever]
    why, changed = ACTING[acting] if acting else ("", {})
    shorter = {"steps": STEPS[task]} if task in STEPS else {}
    return Arm(
        task=task,
        label=lever,
        reason="; ".join(filter(None, [chosen.reason, why])),
        training={**SHARED, **shorter, **chosen.training},
        demonstrations=chosen.demonstrations,
        acting=changed,
    )
