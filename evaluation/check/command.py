"""smidgen-check data=PATH policy=SPEC [key=value ...]

Small CPU variant: the command itself. Run time: a minute beyond the policy's own, without a simulator. Result: whether
the policy uses its cameras, in words, and OUT/check.html, check.md and check.json. Exit code 0: it sees; 3: it is
blind; 4: cannot tell, or in part; 2: the user's mistake.
"""

from __future__ import annotations

import sys
from pathlib import Path

from smidgen.evaluation.check import words
from smidgen.evaluation.check.answers import ask
from smidgen.evaluation.check.config import CheckConfig
from smidgen.evaluation.check.decision import EXIT_CODES
from smidgen.evaluation.check.page import write_report
from smidgen.evaluation.check.pictures import Example, make_example
from smidgen.evaluation.check.predictions import read_predictions
from smidgen.evaluation.check.probes import probes
from smidgen.evaluation.check.report import Report, make_report
from smidgen.evaluation.check.subject import open_subject
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.places import require_outside

USAGE = "smidgen-check data=PATH policy=SPEC [key=value ...]"
SUMMARY = """
Does a policy use its cameras, and which? Asks it about recorded episodes,
with frames and states of other episodes, frozen, grey, late or shifted ones.
Needs no simulator. Data: our episodes, robomimic, LeRobot v3.0, Minari.
Exit code 0: it sees. 3: it is blind. 4: cannot tell, or only in part.
"""


def check(config: CheckConfig) -> tuple[Report, Example]:
    """Checks a policy, or a table of its predictions.

    Returns:
        What was found, and an episode to show.

    Raises:
        UserError: If data and policy cannot be opened or do not fit each other, or the policy fails.
    """
    subject = open_subject(config)
    if subject.calls is None:
        answers = read_predictions(Path(str(config.predictions)), subject.reader)
    else:
        answers = ask(subject.calls, subject.reader, probes(subject.cameras), config.episodes, config.windows)
    report = make_report(subject, answers)
    return report, make_example(subject, answers, list(report.accuracy.error))


def _body(arguments: list[str], codes: list[int]) -> None:
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
