"""smidgen-check data=PATH policy=SPEC [key=value ...] | compare A B | rank ... | control ...

Small CPU variant: the command itself. Run time: a minute beyond the policy's own, without a simulator. Result: whether
the policy uses its cameras, in words, and OUT/check.html, check.md and check.json. Exit code 0: it sees; 3: it is
blind; 4: cannot tell, or in part; 2: the user's mistake.
"""

from __future__ import annotations

import sys
from pathlib import Path

from smidgen.evaluation.check import words
from smidgen.evaluation.check.checking import check
from smidgen.evaluation.check.compare import compare_command
from smidgen.evaluation.check.config import CheckConfig
from smidgen.evaluation.check.control import control_command
from smidgen.evaluation.check.decision import EXIT_CODES
from smidgen.evaluation.check.page import write_report
from smidgen.evaluation.check.rank import rank_command
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.places import require_outside

VERBS = {"compare": compare_command, "control": control_command, "rank": rank_command}
USAGE = "smidgen-check data=PATH policy=SPEC [key=value ...]"
SUMMARY = """
Does a policy use its cameras, and which? Asks it about recorded episodes,
with frames and states of other episodes, frozen, grey, late or shifted ones.
Needs no simulator. Data: our episodes, robomimic, LeRobot v3.0, Minari.
Exit code 0: it sees. 3: it is blind. 4: cannot tell, or only in part.
Verbs with a --help of their own: compare, rank, control.
"""


def _body(arguments: list[str], codes: list[int]) -> None:
    if arguments[:1] and arguments[0] in VERBS:
        VERBS[arguments[0]](arguments[1:])
        return
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, CheckConfig))
        return
    config = compose_config(CheckConfig, arguments)
    require_outside(config.out)
    report, example = check(config)
    print("\n".join(words.first_screen(report)))
    print("\nWhat to try first:")
    print("\n".join(f"  {place}. {each}" for place, each in enumerate(words.advice(report), 1)), end="\n\n")
    print("\n".join(str(path) for path in write_report(report, example, Path(config.out))))
    codes.append(EXIT_CODES[report.decision.label])


def main(argv: list[str] | None = None) -> int:
    """The command ``smidgen-check``."""
    codes: list[int] = []
    return run_command(lambda arguments: _body(arguments, codes), argv) or (codes[-1] if codes else 0)


if __name__ == "__main__":
    sys.exit(main())
