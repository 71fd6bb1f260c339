"""python -m studies.check_calibration [key=value ...]

Measures how often ``smidgen-check`` is wrong without counterfactual pairs, on policies whose truth is known by
construction: three sets of ours and one imported. Collects the sets if they are missing (ten minutes on two cores),
then about a second of one core for each of some 600 policies; killed, it goes on where it was. A small variant:
``share=0.05 record=/tmp/check.json page=null``. Ends with the table of errors.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from smidgen.runtime import markdown
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.files import write_atomic, write_json_atomic
from studies.check_calibration.known_sets import known_set, prepare
from studies.check_calibration.record import (
    CheckCalibration,
    CheckCalibrationConfig,
    calibrate,
    check_calibration_json,
)
from studies.check_calibration.tables import TABLES, error_table

USAGE = "python -m studies.check_calibration [key=value ...]"
SUMMARY = """
Measures how often smidgen-check is wrong where a set has no counterfactual
pairs, on policies that see, that see in part, and that are blind in four ways.
"""


def page_with_tables(page: str, calibration: CheckCalibration) -> str:
    """The page's text with every table computed anew.

    Raises:
        UserError: If the page lacks a marker.
    """
    return markdown.page_with_tables(Path(page), {name: table(calibration) for name, table in TABLES.items()})


def main(argv: list[str] | None = None) -> int:
    """The command."""
    return run_command(_body, argv)


def _body(arguments: list[str]) -> None:
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, CheckCalibrationConfig))
        return
    config = compose_config(CheckCalibrationConfig, arguments)
    torch.set_num_threads(1)
    paths = prepare(Path(config.folder), config.collected)
    calibration = calibrate(config, {name: known_set(name, path) for name, path in paths.items()})
    Path(config.record).parent.mkdir(parents=True, exist_ok=True)
    write_json_atomic(config.record, check_calibration_json(calibration))
    if config.page:
        write_atomic(config.page, page_with_tables(config.page, calibration).encode())
    print(error_table(calibration))


if __name__ == "__main__":
    sys.exit(main())
