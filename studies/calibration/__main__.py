"""python -m studies.calibration [key=value ...]

Measures how often the collapse verdict is wrong, on policies whose true verdict is known by construction. Uses stored
demonstrations of Lift and Speck (collects them if they are missing: two minutes on two cores) and renders
nothing else: about five minutes of one CPU core, most of it for 40 tiny networks. A small variant:
``share=0.05 network_steps=50 record=/tmp/detector.json page=null``. Ends with the table of errors.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from smidgen.data_collection.collect import collect
from smidgen.data_collection.config import CollectConfig
from smidgen.data_collection.store import EpisodeStore
from smidgen.evaluation.collapse.labels import CUE
from smidgen.runtime import markdown
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.files import write_atomic, write_json_atomic
from studies.calibration.episodes import CalibrationEpisodes
from studies.calibration.record import Calibration, CalibrationConfig, calibrate, calibration_json
from studies.calibration.tables import TABLES, detector_table, words_table

USAGE = "python -m studies.calibration [key=value ...]"
SUMMARY = f"""
Measures how often the verdict "sees, partly blind, blind" is wrong, on policies whose truth is known: mixtures of
expert and mean, networks trained with and without the cue ({CUE}),
constants, persistence and noise.
"""


def load_task(task: str, directory: str, config: CalibrationConfig) -> CalibrationEpisodes:
    """One task's demonstrations, collected first if there are none."""
    count = config.train + config.held_out
    if not Path(directory).exists():
        collect(CollectConfig(task=task, out=directory, episodes=count))
    return CalibrationEpisodes.load(EpisodeStore.open(directory), config.train, config.held_out)


def page_with_tables(page: str, calibration: Calibration) -> str:
    """The page's text with every table computed anew.

    Raises:
        UserError: If the page lacks a marker.
    """
    tables = {name: table(calibration) for name, table in TABLES.items()}
    return markdown.page_with_tables(Path(page), {"words": words_table(), **tables})


def main(argv: list[str] | None = None) -> int:
    """The command."""
    return run_command(_body, argv)


def _body(arguments: list[str]) -> None:
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, CalibrationConfig))
        return
    config = compose_config(CalibrationConfig, arguments)
    torch.set_num_threads(1)
    calibration = calibrate(
        config, [load_task("lift", config.lift, config), load_task("speck_16", config.speck, config)]
    )
    Path(config.record).parent.mkdir(parents=True, exist_ok=True)
    write_json_atomic(config.record, calibration_json(calibration))
    if config.page:
        write_atomic(config.page, page_with_tables(config.page, calibration).encode())
    print(detector_table(calibration))


if __name__ == "__main__":
    sys.exit(main())
