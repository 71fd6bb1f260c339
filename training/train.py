"""``smidgen-train demos=DIR out=DIR [key=value ...]``: behaviour cloning of a policy, watched for mean collapse.

A small run, under a minute on one CPU core: ``smidgen-train demos=outputs/demo/demonstrations out=outputs/small
steps=100 num_latents=8 latent_dim=32 batch_size=8``. It prints the run's status at each validation, and writes
``config.json``, ``metrics.jsonl``, ``tensorboard/`` and ``checkpoints/final/``; evaluate it with
``smidgen-eval policy=outputs/small``.
"""

from __future__ import annotations

import dataclasses
import sys
import textwrap
from collections.abc import Sequence

from smidgen.evaluation.collapse.labels import CUE
from smidgen.policies.choose_transform import AUTO
from smidgen.policies.registry import DEFAULT
from smidgen.policies.transforms import TRANSFORMS
from smidgen.runtime.command_line import HELP_ALL, command_help, compose_config, run_command, wants_help
from smidgen.training.config import TrainConfig, command_line_schema

USAGE = "smidgen-train demos=DIR out=DIR [key=value ...]"
SUMMARY = f"""
Trains a policy on demonstrations and monitors whether it sees its cue
({CUE}): tensorboard --logdir OUT.
"""
TRANSFORMS_NOTE = textwrap.fill(f"Input transforms: {', '.join([*TRANSFORMS, AUTO])}.", 115)


def read_config(arguments: Sequence[str]) -> TrainConfig:
    """A run's settings from the command line.

    Raises:
        UserError: If a key is not valid for this kind of policy, or a value is invalid.
    """
    flat = compose_config(command_line_schema(kind_of(arguments)), arguments)
    return TrainConfig.from_flat(**{each.name: getattr(flat, each.name) for each in dataclasses.fields(flat)})


def kind_of(arguments: Sequence[str]) -> str:
    """The kind of policy on a command line; it determines which other keys are valid."""
    given = [argument.partition("=")[2] for argument in arguments if argument.startswith("policy=")]
    return given[-1] if given else DEFAULT


def help_text(kind: str = DEFAULT, *, everything: bool = False) -> str:
    """The ``--help`` text for a kind of policy, or with everything that of ``--help-all``."""
    schema = command_line_schema(kind)
    has_transform = "transform" in {each.name for each in dataclasses.fields(schema)}
    return command_help(USAGE, SUMMARY + TRANSFORMS_NOTE * has_transform, schema, everything=everything)


def _body(arguments: list[str]) -> None:
    if wants_help(arguments):
        print(help_text(kind_of(arguments), everything=HELP_ALL in arguments))
        return
    config = read_config(arguments)
    # Imported here: matplotlib and TensorBoard take a second, which a mistyped key should not cost.
    from smidgen.training.loop import TrainingStopped, train

    try:
        train(config)
    except TrainingStopped as stopped:
        print(f"{stopped}, saved; run the same command again to resume", file=sys.stderr)
        raise SystemExit(128 + stopped.signal_number) from stopped


def main() -> int:
    """Entry point of ``smidgen-train``."""
    return run_command(_body)


if __name__ == "__main__":
    raise SystemExit(main())
