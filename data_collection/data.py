"""smidgen-data verify DIR | replay DIR | preview DIR [--out DIR] | datasheet DIR [--out DIR]
smidgen-data export DIR format=robomimic|lerobot|minari out=DIR | smidgen-data import PATH out=DIR [key=value ...]

Small CPU variant: the command itself. Run time: seconds. Result: ``verify`` prints a summary of the set, or names
the first altered file (exit code 2); ``preview`` writes a contact sheet, a counterfactual sheet and a video grid;
``datasheet`` writes success rate, lengths, action ranges and the share of pixels that vary as JSON, Markdown and PNG;
``replay`` renders stored states again and names the fault if they differ; ``export`` and ``import`` write a set in
another project's format, and one of theirs as an episode store. DIR may be an fsspec URL, such as ``s3://bucket/lift``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from smidgen.data_collection.certificate import certificate, certify
from smidgen.data_collection.formats.config import ExportConfig, ImportConfig
from smidgen.data_collection.remote_store import is_url, user_set
from smidgen.data_collection.store import PREVIEW_NAME, EpisodeStore
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import write_atomic
from smidgen.runtime.places import require_outside
from smidgen.runtime.settings import user_path


def main(argv: list[str] | None = None) -> int:
    """The command ``smidgen-data``."""
    return run_command(_main, argv)


def _main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="smidgen-data", description="Verifies and shows data sets of demonstrations.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verify = verbs.add_parser("verify", help="check the SHA-256 of every file and print a summary")
    verify.add_argument("directory", type=user_set, metavar="DIR")
    replayed = verbs.add_parser("replay", help="render stored states again and compare them with the frames")
    replayed.add_argument("directory", type=user_set, metavar="DIR")
    for verb, (_, purpose) in _WRITERS.items():
        writer = verbs.add_parser(verb, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
        writer.add_argument("directory", type=user_set, metavar="DIR")
        writer.add_argument(
            "--out", type=user_path, metavar="DIR", help=f"where to write; DIR/{PREVIEW_NAME} by default"
        )
    for verb, (_, usage, summary) in _EXCHANGES.items():
        verbs.add_parser(verb, help=summary, description=usage)
    if arguments and arguments[0] in _EXCHANGES:
        exchange, usage, summary = _EXCHANGES[arguments[0]]
        exchange(arguments[1:], usage, summary)
        return
    options = parser.parse_args(arguments)
    # Of a set at a URL, a verb that shows a few episodes fetches those; each is verified as it comes.
    is_partial = is_url(options.directory) and options.verb in _SHOW_A_FEW
    store = EpisodeStore.open(options.directory, verify=not is_partial)
    if options.verb == "verify":
        print("\n".join(description(store)))
        return
    if options.verb == "replay":
        print(certificate(store))
        return
    write, _ = _WRITERS[options.verb]
    if is_url(options.directory):
        if options.out is None:
            raise UserError(f"{options.directory} is read-only; pass --out DIR")
        require_outside(options.out, "--out")
        print("\n".join(map(str, write(store, options.out))))
        return
    preview = (options.directory / PREVIEW_NAME).resolve()
    if options.out is not None and not options.out.resolve().is_relative_to(preview):
        require_outside(options.out, "--out")
    for path in write(store, options.out or options.directory / PREVIEW_NAME):
        print(path)


def description(store: EpisodeStore) -> list[str]:
    """Summary of a verified set, line by line."""
    manifest = store.manifest
    rows = manifest["episodes"]
    lengths = [row["num_steps"] for row in rows if row["success"]] or [0]
    num_errors = sum(row["error"] is not None for row in rows)
    size = manifest["image_size"]
    return [
        f"{store.directory}: {manifest['task']}, all files verified",
        f"  attempts       {len(rows)}, seeds {store.span()}",
        f"  successful     {manifest['num_successes']}/{len(rows)}, {num_errors} aborted by the simulator",
        f"  steps          {sum(row['num_steps'] for row in rows)}; {min(lengths)} to {max(lengths)} in a success",
        f"  frames         {size} x {size} pixels from {', '.join(manifest['cameras'])}",
        f"  counterfactual {sum(row['num_counterfactuals'] for row in rows)} pairs",
        f"  sha256         {store.sha256}",
    ]


def write_preview(store: EpisodeStore, out: Path) -> list[Path]:
    """Writes pictures of a data set.

    Args:
        store: The data set.
        out: Directory to write to; created if missing.

    Returns:
        The files written.

    Raises:
        UserError: If no attempt has a frame, or the directory is not writable.
    """
    # Imported here: drawing libraries are slow to import, and verify does not need them.
    from smidgen.data_collection import preview

    if not any(row["num_steps"] for row in store.manifest["episodes"]):
        raise UserError(f"{store.directory} has no frames to show: every attempt was aborted")
    paths = [out / name for name in (preview.SHEET_NAME, preview.PAIRS_NAME, preview.VIDEO_NAME)]
    write_atomic(paths[0], preview.png_bytes(preview.contact_sheet(store)))
    write_atomic(paths[1], preview.png_bytes(preview.counterfactual_sheet(store)))
    preview.write_video_grid(store, paths[2])
    return paths


def write_datasheet(store: EpisodeStore, out: Path) -> list[Path]:
    """As :func:`smidgen.data_collection.datasheet.write_datasheet`."""
    # Imported here: SciPy is slow to import, and verify does not need it.
    from smidgen.data_collection import datasheet

    return datasheet.write_datasheet(store, out)


def _export(arguments: list[str], usage: str, summary: str) -> None:
    if wants_help(arguments):
        print(command_help(usage, summary, ExportConfig))
        return
    path, settings = _path_first(arguments, usage)
    config = compose_config(ExportConfig, settings)
    # Imported here, as below: verify needs no other format.
    from smidgen.data_collection.formats.exchange import export_store

    store = EpisodeStore.open(path)
    certify(store, config.certify)
    for written in export_store(store, config):
        print(written)


def _import(arguments: list[str], usage: str, summary: str) -> None:
    if wants_help(arguments):
        print(command_help(usage, summary, ImportConfig))
        return
    path, settings = _path_first(arguments, usage)
    if not isinstance(path, Path):
        raise UserError(f"{path}: expected a path; copy the files here, then import them")
    config = compose_config(ImportConfig, settings)
    from smidgen.data_collection.formats.exchange import import_set

    written = import_set(path, config)
    print("\n".join(f"note: {note}" for note in written.notes), end="\n" if written.notes else "")
    equal = ", equal to the byte to the set that was exported" if written.is_equal else ""
    print(f"{config.out}: {written.num_episodes} episodes{equal}")


def _path_first(arguments: list[str], usage: str) -> tuple[Path | str, list[str]]:
    if not arguments or arguments[0].startswith("-"):
        raise UserError(f"expected a path first: {usage}")
    return user_set(arguments[0]), arguments[1:]


_EXCHANGES: dict[str, tuple[Callable[[list[str], str, str], None], str, str]] = {
    "export": (
        _export,
        "smidgen-data export DIR format=NAME out=DIR",
        "Writes a data set and its counterfactual pairs for robomimic, LeRobot or Minari, frames lossless.",
    ),
    "import": (
        _import,
        "smidgen-data import PATH out=DIR [key=value ...]",
        "Reads a data set of robomimic, LeRobot v3.0 or Minari into an episode store and says what it lacks.",
    ),
}
_SHOW_A_FEW = ("preview", "replay")
_WRITERS: dict[str, tuple[Callable[[EpisodeStore, Path], list[Path]], str]] = {
    "preview": (write_preview, "write a contact sheet, a counterfactual sheet and a video grid"),
    "datasheet": (write_datasheet, "write success rate, lengths, actions and pixel variation: JSON, Markdown, PNG"),
}


if __name__ == "__main__":
    sys.exit(main())
