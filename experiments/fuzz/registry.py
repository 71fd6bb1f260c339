"""Every reader that is fuzzed, by its name in the record."""

from __future__ import annotations

from smidgen.experiments.fuzz.claim_readers import CLAIM_READERS
from smidgen.experiments.fuzz.command_readers import COMMAND_READERS
from smidgen.experiments.fuzz.data_readers import DATA_READERS
from smidgen.experiments.fuzz.policy_readers import POLICY_READERS
from smidgen.experiments.fuzz.reader import Reader
from smidgen.experiments.fuzz.record_readers import RECORD_READERS

READERS: dict[str, Reader] = {**DATA_READERS, **POLICY_READERS, **RECORD_READERS, **CLAIM_READERS, **COMMAND_READERS}
