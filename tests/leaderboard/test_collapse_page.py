"""docs/collapse.md: its example runs as written, and it names every field that a record has."""

import re
import subprocess
import sys
from pathlib import Path

from smidgen.evaluation.collapse.labels import BLIND_TO, SEES_FROM
from smidgen.evaluation.collapse.verdict import AT_THE_MEAN_UP_TO, PRECISE_WITHIN
from smidgen.evaluation.record_schema import COLLAPSE_MEASURES

PAGE = Path(__file__).parent.parent.parent / "docs" / "collapse.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_examples_work_as_written(tmp_path: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert len(examples) == 2
    done = subprocess.run([sys.executable, "-c", "\n".join(examples)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "step 200: R^2" in done.stdout
    assert list((tmp_path / "runs" / "mine").iterdir())


def test_every_measure_of_a_record_is_on_the_page() -> None:
    prose = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
    named = {name for code in re.findall(r"`([^`]+)`", prose) for name in re.findall(r"\w+", code)}
    # Said in words: an interval beside its slope, and the slope that decided.
    unsaid = {"cue_slope_interval", "path_slope_interval", "verdict_slope"}
    assert set(COLLAPSE_MEASURES) - named == unsaid


def test_the_thresholds_are_those_of_the_code() -> None:
    for number in (SEES_FROM, BLIND_TO, PRECISE_WITHIN, AT_THE_MEAN_UP_TO):
        assert re.search(rf"\b{number}\b", TEXT)


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)", TEXT)
    assert targets
    assert [target for target in targets if not (PAGE.parent / target).exists()] == []
