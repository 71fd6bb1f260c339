"""Windows, batches, and one readable training loop."""

from typing import TYPE_CHECKING

from smidgen.runtime.lazy_names import lazy_names as _lazy_names

if TYPE_CHECKING:
    from smidgen.training.windows import WindowDataset
else:
    __getattr__, __dir__ = _lazy_names(__name__, {"WindowDataset": "smidgen.training.windows"})

__all__ = ["WindowDataset"]
