"""A whole check, from its settings to what was found."""

from __future__ import annotations

from pathlib import Path

from smidgen.evaluation.check.answers import ask
from smidgen.evaluation.check.config import CheckConfig
from smidgen.evaluation.check.pictures import Example, make_example
from smidgen.evaluation.check.predictions import read_predictions
from smidgen.evaluation.check.probes import AS_RECORDED, FRAMES_SWAPPED, probes
from smidgen.evaluation.check.report import Report, make_report
from smidgen.evaluation.check.subject import open_subject


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


def check_quickly(config: CheckConfig) -> Report:
    """As :func:`check`, with no other probe than another episode's frames: a few times faster.

    Raises:
        UserError: As :func:`check`.
    """
    subject = open_subject(config)
    assert subject.calls is not None
    asked = [probe for probe in probes(subject.cameras) if probe.key in (AS_RECORDED, FRAMES_SWAPPED)]
    return make_report(subject, ask(subject.calls, subject.reader, asked, config.episodes, config.windows))
