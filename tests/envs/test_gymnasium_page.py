"""docs/gymnasium.md, run as it is written; the blocks that need other packages are what `make interop` does."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.simulator

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "gymnasium.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.parametrize(("index", "says"), [(0, "False 0"), (1, "[0, 1]")])
def test_the_page_works_as_written(index: int, says: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"  # a process that is spawned imports it
    program.write_text(BLOCKS[index], encoding="utf-8")
    command = [sys.executable, "-W", "error", str(program)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200)
    assert (done.returncode, done.stdout.strip()) == (0, says), done.stderr[-2000:]


def test_every_block_is_run() -> None:
    assert len(BLOCKS) == 2


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert targets
    assert [target for target in targets if not (ROOT / "docs" / target).exists()] == []
