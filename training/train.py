"""``smidgen-train demos=DIR out=DIR [key=value ...]``: behaviour cloning of a Perceiver, watched for mean collapse.

A small run, under a minute on one CPU core: ``smidgen-train demos=outputs/demo/demonstrations out=outputs/small
steps=100 num_latents=8 latent_dim=32 batch_size=8``. It prints where the run stands at each validation, and leaves
``config.json``, ``metrics.jsonl``, ``tensorboard/`` and ``checkpoints/final/``; ``smidgen-eval policy=outputs/small``
takes it from there.
"""

from __future__ import annotations

import sys
import textwrap

from smidgen.policies.transforms import TRANSFORMS
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.training.config import TrainConfig

USAGE = "smidgen-train demos=DIR out=DIR [key=value ...]"
SUMMARY = f"""
Learns end-effector positions from demonstrations and watches for mean collapse (tensorboard --logdir OUT).
Killed or stopped, the same command goes on where it was; finished, it does nothing. Input transforms:
{textwrap.fill(", ".join(TRANSFORMS), 115)};
auto chooses among auto_candidates by a rule, and prints what it measured.
"""
# Follows from another key, so nobody sets it.
DERIVED_KEYS = ("state_dim",)


def help_text() -> str:
    """What ``--help`` prints."""
    lines = command_help(USAGE, SUMMARY, TrainConfig).splitlines()
    return "\n".join(line for line in lines if not line.strip().startswith(tuple(f"{key}=" for key in DERIVED_KEYS)))


def _body(arguments: list[str]) -> None:
    if wants_help(arguments):
        print(help_text())
        return
    config = compose_config(TrainConfig, arguments)
    # Imported here: matplotlib and TensorBoard take a second, for which a mistyped key should not wait.
    from smidgen.training.loop import TrainingStopped, train

    try:
        train(config)
    except TrainingStopped as stopped:
        print(f"{stopped}, saved; run the same command again to go on", file=sys.stderr)
        raise SystemExit(128 + stopped.signal_number) from stopped


def main() -> int:
    """Entry point of ``smidgen-train``."""
    return run_command(_body)


if __name__ == "__main__":
    raise SystemExit(main())
