import pytest

from smidgen.runtime.progress import progress


def test_plain_lines_count_up_to_the_total(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(3, "testing", done=1) as advance:
        advance(1, "")
        advance(1, "two of two")
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("testing: 3/3 after")
    assert lines[-1].endswith("two of two")
