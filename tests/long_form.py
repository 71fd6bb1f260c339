"""The long form of the tests: ``make test-long`` names in SMIDGEN_LONG the file that its outcome goes to."""

import os
import subprocess
from pathlib import Path
from typing import TypeVar

import pytest

from smidgen.runtime.files import sha256_bytes, write_json_atomic

Value = TypeVar("Value")

ROOT = Path(__file__).resolve().parents[1]
RECORD = os.environ.get("SMIDGEN_LONG", "")
# One task for each way in which a state is more than joints, and a model is more than another size of a dot.
ONE_OF_EACH_FAMILY = ("lift", "nut_assembly_square", "door", "wipe", "speck_16")


def long_form(value: Value, otherwise: Value) -> Value:
    """The first in the long form, the other in what every change has to pass."""
    return value if RECORD else otherwise


def needs_long_form() -> pytest.MarkDecorator:
    """Marks a test whose kind has a quick form elsewhere."""
    return pytest.mark.skipif(not RECORD, reason="part of the long form: make test-long")


def files_with_long_forms() -> list[str]:
    """The test files that ask for it, from the repository's root."""
    asking = (path for path in (ROOT / "tests").rglob("test_*.py") if "long_form(" in path.read_text(encoding="utf-8"))
    return sorted(path.relative_to(ROOT).as_posix() for path in asking)


def code_sha256() -> str:
    """SHA-256 over every Python file of the repository."""
    listing = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return sha256_bytes(b"".join((ROOT / name).read_bytes() for name in listing.splitlines()))


def write_record(counts: dict[str, int], seconds: float) -> None:
    """Writes what the long form came to: of which code and files, how many tests ended how, and how long it took."""
    found = {"code_sha256": code_sha256(), "files": files_with_long_forms(), **counts, "seconds": round(seconds)}
    write_json_atomic(Path(RECORD), found)
