"""The formats that are known, by name, and which of them a path is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from smidgen.data_collection.formats import lerobot, lerobot_reader, minari, minari_reader, robomimic, robomimic_reader
from smidgen.data_collection.formats.clip import ClipSet, View
from smidgen.data_collection.formats.config import FORMAT_NAMES, ExportConfig
from smidgen.data_collection.formats.from_store import DEMONSTRATIONS, PAIRS
from smidgen.data_collection.manifest import MANIFEST_NAME
from smidgen.runtime.errors import UserError


@dataclass(frozen=True)
class Format:
    """One project's layout.

    Attributes:
        write: Writes a set at a path, to which it may add a suffix, with the settings; returns what it wrote.
        matches: Whether a path looks like a set of this format.
        read: Opens a set; clips are read one at a time, with the frames of a view.
    """

    write: Callable[[ClipSet, Path, ExportConfig], Path]
    matches: Callable[[Path], bool]
    read: Callable[[Path, View], ClipSet]


_FORMATS = (
    Format(lambda clips, out, _: robomimic.write(clips, out), robomimic_reader.matches, robomimic_reader.read),
    Format(lambda clips, out, _: lerobot.write(clips, out), lerobot_reader.matches, lerobot_reader.read),
    Format(
        lambda clips, out, config: minari.write(clips, out, config.minari_python),
        minari_reader.matches,
        minari_reader.read,
    ),
)
FORMATS: dict[str, Format] = dict(zip(FORMAT_NAMES, _FORMATS, strict=True))


def locate(path: Path) -> tuple[Path, Path | None]:
    """The set at a path, or inside one of our exports, with the counterfactual pairs beside it."""
    if not path.exists():
        raise UserError(f"{path} does not exist")
    inside = [each for each in sorted(path.glob(f"{DEMONSTRATIONS}*")) if _format_name(each)] if path.is_dir() else []
    found = inside[0] if inside else path
    pairs = found.with_name(found.name.replace(DEMONSTRATIONS, PAIRS))
    return found, pairs if pairs != found and pairs.exists() else None


def detect(path: Path) -> Format:
    """The format of a set.

    Raises:
        UserError: If it is none of ours.
    """
    name = _format_name(path)
    if not name and (path / MANIFEST_NAME).is_file():
        raise UserError(f"{path} is an episode store already: smidgen-train and smidgen-data read it as it is")
    if not name:
        raise UserError(
            f"{path} is not a data set of {', '.join(FORMATS)}; expected an .hdf5 file of robomimic, or a directory "
            "with meta/info.json (LeRobot v3.0) or data/metadata.json (Minari)"
        )
    return FORMATS[name]


def _format_name(path: Path) -> str:
    return next((name for name, each in FORMATS.items() if each.matches(path)), "")
