"""The rows that are run again: one in ten of each board, drawn before any was run."""

from __future__ import annotations

import random
from pathlib import Path

from smidgen.evaluation.records import record_path
from smidgen.evaluation.verification_mark import VERIFIED, read_verification
from smidgen.experiments.boards import BOARDS, Board
from smidgen.runtime.files import sha256_file
from smidgen.runtime.markdown import left, markdown_table, right

# The protocol names both.
DRAW_SEED, ONE_IN = 20_261_129, 10


def drawn_rows(board: Board) -> list[tuple[str, str]]:
    """Task and policy of the drawn rows of a complete board, sorted: one in ten, rounded up."""
    names = {
        f"{task}-{recipe}-seed{seed}": (task, f"{recipe}-seed{seed}")
        for task in board.tasks
        for recipe in board.recipes
        for seed in range(board.num_training_seeds)
    }
    drawn = random.Random(DRAW_SEED).sample(sorted(names), -(-len(names) // ONE_IN))
    return [names[name] for name in sorted(drawn)]


def verification_table(records: Path) -> str:
    """What running the drawn rows again gave, board by board."""
    rows = []
    for board in BOARDS:
        verdicts = {}
        for task, policy in drawn_rows(board):
            path = record_path(str(records), task, policy)
            mark = read_verification(path) if path.exists() else None
            # A mark of other bytes says nothing of these.
            is_its_own = mark is not None and mark["record_sha256"] == sha256_file(path)
            verdicts[f"`{path.stem}`"] = mark["verdict"] if mark and is_its_own else None
        found = [name for name, verdict in verdicts.items() if verdict == VERIFIED]
        others = [f"{name} ({verdict})" for name, verdict in verdicts.items() if verdict not in (None, VERIFIED)]
        missing = [name for name, verdict in verdicts.items() if verdict is None]
        rows.append((board.name, len(verdicts), len(found), ", ".join(others) or "none", ", ".join(missing) or "none"))
    heads = left("board") + right("drawn", "verified") + left("not the same", "not run again yet")
    return markdown_table(heads, [[str(cell) for cell in row] for row in rows])
