"""PyTorch's threads spin briefly in every command, unless the user has chosen, and never in a user's own program."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from smidgen.runtime.waiting_policy import NUM_SPINS, USERS_CHOICE, WAITING, limit_spinning

ROOT = Path(__file__).parents[2]
# GNU's OpenMP shows its settings as it is loaded, on stderr.
SHOWN = {"OMP_DISPLAY_ENV": "verbose"}
BRIEFLY = f"GOMP_SPINCOUNT = '{NUM_SPINS}'"


@pytest.mark.parametrize("name", USERS_CHOICE)
def test_a_users_choice_stands(name: str) -> None:
    environment = {name: "active"}
    limit_spinning(environment)
    assert environment == {name: "active"}
    limit_spinning(unset := {})
    assert unset == WAITING


def run(*command: str, **variables: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name not in USERS_CHOICE}
    ended = subprocess.run(
        [sys.executable, *command], env=kept | SHOWN | variables, capture_output=True, text=True, check=True, cwd=ROOT
    )
    return ended.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("-m", "smidgen.training.train", "--help"),
        ("-c", "import sys; sys.argv[1:] = ['--help']; from smidgen.console import train; train()"),
    ],
    ids=["module", "console command"],
)
def test_openmp_obeys(command: tuple[str, ...]) -> None:
    assert BRIEFLY in run(*command)


def test_openmp_obeys_the_user() -> None:
    assert "OMP_WAIT_POLICY = 'ACTIVE'" in run("-m", "smidgen.training.train", "--help", OMP_WAIT_POLICY="active")


def test_a_users_own_program_is_left_alone() -> None:
    assert "GOMP_SPINCOUNT" in (shown := run("-c", "import smidgen, torch, smidgen.policies.transforms"))
    assert BRIEFLY not in shown
