"""The rows that are run again: one in ten of each board, drawn before any was run."""

from __future__ import annotations

from pathlib import Path

from smidgen.evaluation.records import record_path
from smidgen.evaluation.verification_mark import VERIFIED, mark_of
from smidgen.experiments.boards import BOARDS
from smidgen.experiments.entry_jobs import drawn_rows
from smidgen.runtime.markdown import left, markdown_table, right


def verification_table(records: Path) -> str:
    """What running the drawn rows again gave, board by board."""
    rows = []
    for board in BOARDS:
        verdicts = {}
        for task, recipe, seed in drawn_rows(board):
            path = record_path(str(records), task, f"{recipe}-seed{seed}")
            mark = mark_of(path)
            verdicts[f"`{path.stem}`"] = None if mark is None else mark["verdict"]
        found = [name for name, verdict in verdicts.items() if verdict == VERIFIED]
        others = [f"{name} ({verdict})" for name, verdict in verdicts.items() if verdict not in (None, VERIFIED)]
        missing = [name for name, verdict in verdicts.items() if verdict is None]
        rows.append((board.name, len(verdicts), len(found), ", ".join(others) or "none", ", ".join(missing) or "none"))
    heads = left("board") + right("drawn", "verified") + left("not the same", "not run again yet")
    return markdown_table(heads, [[str(cell) for cell in row] for row in rows])
