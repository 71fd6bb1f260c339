"""Every reader that is fuzzed, by its name in the record."""

from __future__ import annotations

from tests.fuzz.check_readers import CHECK_READERS
from tests.fuzz.claim_readers import CLAIM_READERS
from tests.fuzz.command_readers import COMMAND_READERS
from tests.fuzz.data_readers import DATA_READERS
from tests.fuzz.format_readers import FORMAT_READERS
from tests.fuzz.model_readers import MODEL_READERS
from tests.fuzz.policy_readers import POLICY_READERS
from tests.fuzz.reader import Reader
from tests.fuzz.record_readers import RECORD_READERS

READERS: dict[str, Reader] = {
    **DATA_READERS,
    **FORMAT_READERS,
    **MODEL_READERS,
    **POLICY_READERS,
    **RECORD_READERS,
    **CHECK_READERS,
    **CLAIM_READERS,
    **COMMAND_READERS,
}
