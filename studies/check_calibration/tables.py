"""The calibration's tables, computed from its record."""

from __future__ import annotations

from collections.abc import Sequence

from smidgen.evaluation.check.decision import IGNORED, UNCLEAR, USED
from smidgen.evaluation.collapse.labels import BLIND, SEES, UNDECIDED, VERDICTS, spoken
from smidgen.runtime.markdown import left, markdown_table, right
from studies.calibration.tables import counted
from studies.check_calibration.families import FAMILIES
from studies.check_calibration.record import CheckCalibration, Checked


def family_table(calibration: CheckCalibration) -> str:
    """The labels that each family got."""
    labels = (*VERDICTS, UNDECIDED)
    rows = []
    for name, family in FAMILIES.items():
        members = [each for each in calibration.policies if each.family == name]
        counts = [sum(each.label == label for each in members) for label in labels]
        rows.append([family.meaning, spoken(family.truth), str(len(members)), *map(str, counts)])
    return markdown_table(left("policies", "truth") + right("n", *map(spoken, labels)), rows)


def error_table(calibration: CheckCalibration) -> str:
    """How often it is wrong on each set, with intervals; those that it cannot tell are counted apart."""
    names = list(dict.fromkeys(each.set_name for each in calibration.policies))
    groups = {name: [each for each in calibration.policies if each.set_name == name] for name in names}
    rows = [[name, *_errors(members)] for name, members in groups.items()]
    rows.append(["all", *_errors(calibration.policies)])
    heads = right("seeing, called blind", "blind, called seeing", "seeing, called otherwise", "blind, called otherwise")
    table = markdown_table(left("set") + heads + right("cannot tell"), rows)
    if calibration.share == 1:
        return table
    return f"{table}\n\nOnly {calibration.share:.0%} of the policies that are planned have been made so far."


def _errors(members: Sequence[Checked]) -> list[str]:
    cells = []
    for wrong_labels in ({SEES: (BLIND,), BLIND: (SEES,)}, {SEES: _others(SEES), BLIND: _others(BLIND)}):
        for truth, wrong in wrong_labels.items():
            told = [each for each in members if each.truth == truth and each.label != UNDECIDED]
            cells.append(counted(sum(each.label in wrong for each in told), len(told)))
    return [*cells, counted(sum(each.label == UNDECIDED for each in members), len(members))]


def _others(label: str) -> tuple[str, ...]:
    return tuple(other for other in VERDICTS if other != label)


def camera_table(calibration: CheckCalibration) -> str:
    """How cameras that are used and cameras that are ignored were called."""
    pairs = [pair for each in calibration.policies for pair in each.cameras]
    rows = []
    for truth in (USED, IGNORED):
        called = [found for known, found in pairs if known == truth]
        rows.append([truth, *(counted(called.count(found), len(called)) for found in (USED, IGNORED, UNCLEAR))])
    return markdown_table(left("camera") + right("called used", "called ignored", "called unclear"), rows)


TABLES = {"check families": family_table, "check errors": error_table, "check cameras": camera_table}
