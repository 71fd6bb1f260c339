"""The last run of ``make test-long`` is on record, and nothing failed in it."""

from smidgen.runtime.files import read_json
from tests.long_form import ROOT, files_with_long_forms


def test_the_long_form_is_on_record() -> None:
    record = read_json(ROOT / "results" / "reliability" / "test-long.json")
    assert record["files"] == files_with_long_forms(), "run: make test-long"
    assert record["failed"] == record["error"] == 0
    assert record["passed"] > 100
