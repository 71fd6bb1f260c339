"""A data set's datasheet: its content, its quality, and how small its cue is; as JSON, Markdown and a picture.

Every figure is computed from the set's bytes: the same set gives the same datasheet. Lengths, actions and pixels cover
successful attempts only, because policies learn from no others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data_collection.episode import Episode
from smidgen.data_collection.pixel_variation import (
    QUANTISATION_LEVELS,
    CueChange,
    PixelVariation,
    cue_change,
    pixel_variation,
)
from smidgen.data_collection.store import EpisodeStore
from smidgen.evaluation.statistics import CONFIDENCE, wilson_interval
from smidgen.runtime.files import write_atomic, write_json_atomic
from smidgen.runtime.markdown import left, markdown_table

SCHEMA_VERSION = 1
JSON_NAME, MARKDOWN_NAME = "datasheet.json", "datasheet.md"
_MAX_BINS = 10
PICTURE_NAME = "pixel_variance.png"
_BAR_WIDTH = 30
_NOTHING = "-"
_ACTION_FIGURES = ("min", "max", "mean", "sd")


def write_datasheet(store: EpisodeStore, out: Path) -> list[Path]:
    """Writes a data set's datasheet and its picture.

    Args:
        store: The data set.
        out: Directory to write to; created if missing.

    Returns:
        The files written; without a picture if there are fewer than two successful attempts.

    Raises:
        UserError: If the directory is not writable, or the disk is full.
    """
    # Imported here: only this function draws.
    from smidgen.data_collection.preview import png_bytes, variation_sheet

    episodes = [store.episode(seed) for seed in store.training_seeds]
    pairs = store.counterfactuals(store.seeds)
    variation = pixel_variation(episodes)
    cue = cue_change(*(pairs[name] for name in ("frames", "frames_moved", "frames_hidden")))
    sheet = datasheet(store, episodes, variation, cue)
    write_json_atomic(out / JSON_NAME, sheet)
    write_atomic(out / MARKDOWN_NAME, datasheet_markdown(sheet).encode())
    if variation is None:
        (out / PICTURE_NAME).unlink(missing_ok=True)
        return [out / JSON_NAME, out / MARKDOWN_NAME]
    write_atomic(out / PICTURE_NAME, png_bytes(variation_sheet(store, variation, cue)))
    return [out / JSON_NAME, out / MARKDOWN_NAME, out / PICTURE_NAME]


def datasheet(
    store: EpisodeStore, episodes: Sequence[Episode], variation: PixelVariation | None, cue: CueChange | None
) -> dict[str, Any]:
    """The datasheet as a JSON object.

    Args:
        store: The data set.
        episodes: Its successful attempts.
        variation: Pixel variation between them.
        cue: Pixels that moving the cue changes.
    """
    manifest = store.manifest
    return {
        "schema_version": SCHEMA_VERSION,
        "task": manifest["task"],
        "sha256": store.sha256,
        "seeds": _seeds(store),
        "success": _success(manifest),
        "lengths": lengths_of([episode.num_steps for episode in episodes]),
        "actions": _actions(manifest["action_spec"], episodes),
        "phases": _phases(manifest["phases"], episodes),
        "pixels": _pixels(variation, cue, len(manifest["cameras"]) * manifest["image_size"] ** 2),
        **{key: manifest[key] for key in ("expert", "cameras", "image_size", "control_hz", "history", "config")},
        "environment": manifest["environment"],
        "versions": manifest["versions"],
    }


def _seeds(store: EpisodeStore) -> dict[str, Any]:
    failed = [seed for seed in store.seeds if seed not in set(store.training_seeds)]
    bounds = {"first": store.seeds[0], "last": store.seeds[-1]} if store.seeds else {"first": None, "last": None}
    return {**bounds, "num": len(store.seeds), "failed": failed}


def _success(manifest: Mapping[str, Any]) -> dict[str, Any]:
    rows, k, n = manifest["episodes"], manifest["num_successes"], manifest["num_episodes"]
    low, high = wilson_interval(k, n) if n else (None, None)
    return {
        "k": k,
        "n": n,
        "rate": k / n if n else None,
        "low": low,
        "high": high,
        "confidence": CONFIDENCE,
        "num_at_reset": sum(row["success_at_reset"] for row in rows),
        "num_broken_off": sum(row["error"] is not None for row in rows),
    }


def lengths_of(lengths: Sequence[int]) -> dict[str, Any] | None:
    """Statistics and a histogram of the attempts' lengths; None if there are none.

    Args:
        lengths: In control steps. All bins span the same number of whole steps and include their lower edge.
    """
    if not lengths:
        return None
    shortest, longest = min(lengths), max(lengths)
    width = -(-(longest + 1 - shortest) // _MAX_BINS)
    edges = np.arange(shortest, longest + 1 + width, width)
    counts, _ = np.histogram(lengths, edges)
    return {
        "min": shortest,
        "median": float(np.median(lengths)),
        "mean": float(np.mean(lengths)),
        "max": longest,
        "sum": sum(lengths),
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def _actions(action_spec: Mapping[str, Any], episodes: Sequence[Episode]) -> list[dict[str, Any]]:
    """For each coordinate, the allowed range and the range of the expert's targets."""
    rows = []
    for index, name in enumerate(action_spec["names"]):
        allowed = {"name": name, "low": action_spec["low"][index], "high": action_spec["high"][index]}
        measured = dict.fromkeys(("min", "max", "mean", "sd"))
        if episodes:
            values = np.concatenate([episode.actions[:, index] for episode in episodes])
            measured = {
                "min": float(values.min()),
                "max": float(values.max()),
                "mean": float(values.mean()),
                "sd": float(values.std()),
            }
        rows.append(allowed | measured)
    return rows


def _phases(names: Sequence[str], episodes: Sequence[Episode]) -> list[dict[str, Any]]:
    """Share of steps that the expert spends in each of its phases, in order."""
    phase = np.concatenate([episode.phase for episode in episodes]) if episodes else None
    return [
        {"name": name, "share": None if phase is None else float((phase == index).mean())}
        for index, name in enumerate(names)
    ]


def _pixels(variation: PixelVariation | None, cue: CueChange | None, num_pixels: int) -> dict[str, Any]:
    """How many pixels differ between episodes, and how many of them the cue changes."""
    return {
        "num_pixels": num_pixels,
        "quantisation_levels": QUANTISATION_LEVELS,
        "between_episodes": variation
        and {
            "num_episodes": variation.num_episodes,
            "num_steps": len(variation.shares),
            "share_of_first_frames": variation.shares[0],
            "share_of_any_step": float(np.mean(variation.shares)),
            "shares": list(variation.shares),
            "max_sd_of_first_frames": float(variation.sd_first_NHW.max()),
            "max_sd": float(variation.sd_NHW.max()),
        },
        "cue": cue
        and {
            "num_pairs": len(cue.moved_KT),
            "num_frames": cue.moved_KT.size,
            "moved": _pixel_counts(cue.moved_KT.ravel(), num_pixels),
            "hidden": _pixel_counts(cue.hidden_KT.ravel(), num_pixels),
            "moved_levels": cue.moved_levels,
        },
    }


def _pixel_counts(counts: np.ndarray, num_pixels: int) -> dict[str, float]:
    mean = float(counts.mean())
    share_of_frames = float((counts > 0).mean())
    return {
        "mean": mean,
        "min": int(counts.min()),
        "max": int(counts.max()),
        "share_of_pixels": mean / num_pixels,
        "share_of_frames": share_of_frames,
    }


def datasheet_markdown(sheet: Mapping[str, Any]) -> str:
    """The datasheet as Markdown.

    Args:
        sheet: The return value of :func:`smidgen.data_collection.datasheet.datasheet`.
    """
    seeds, image_size = sheet["seeds"], sheet["image_size"]
    parts = [
        f"# Data set: {sheet['task']}",
        markdown_table(
            left("", ""),
            [
                ("environment", sheet["environment"].get("env_id", "unnamed")),
                ("attempts", f"{seeds['num']}, seeds {seeds['first']} to {seeds['last']}"),
                ("successful", _success_text(sheet["success"])),
                ("failed seeds", ", ".join(map(str, seeds["failed"])) or "none"),
                ("expert", f"{sheet['expert']['name']}, {_noise_text(sheet['config'])}"),
                ("frames", f"{image_size} x {image_size} pixels from {', '.join(sheet['cameras'])}"),
                ("control", f"{sheet['control_hz']} Hz"),
                ("SHA-256", f"`{sheet['sha256']}`"),
            ],
        ),
        "Lengths, actions and pixels are of the successful attempts.",
        *_length_parts(sheet["lengths"]),
        "## Actions",
        markdown_table(
            left("coordinate", "allowed", "smallest", "largest", "mean", "standard deviation"),
            [
                (row["name"], f"{row['low']:g} to {row['high']:g}", *(_number(row[key]) for key in _ACTION_FIGURES))
                for row in sheet["actions"]
            ],
        ),
        "## Phases of the expert",
        markdown_table(
            left("phase", "share of steps"), [(row["name"], _percent(row["share"])) for row in sheet["phases"]]
        ),
        *_pixel_parts(sheet["pixels"]),
        "## Environment",
        markdown_table(left("", ""), [(name, f"`{value}`") for name, value in sorted(sheet["environment"].items())]),
    ]
    return "\n\n".join(parts) + "\n"


def _success_text(success: Mapping[str, Any]) -> str:
    if success["rate"] is None:
        return "0/0"
    text = f"{success['k']}/{success['n']} = {_percent(success['rate'])}"
    text += f" [{_percent(success['low'])}, {_percent(success['high'])}] ({success['confidence']:.0%} Wilson interval)"
    if success["num_broken_off"]:
        text += f", {success['num_broken_off']} aborted by the simulator"
    return text


def _noise_text(config: Mapping[str, Any]) -> str:
    noise_m = config.get("action_noise_m", 0.0)
    return f"executed with noise of {noise_m:g} m" if noise_m else "executed without noise"


def _length_parts(lengths: Mapping[str, Any] | None) -> list[str]:
    if lengths is None:
        return ["## Lengths", "No attempt was successful."]
    edges, counts = lengths["histogram"]["edges"], lengths["histogram"]["counts"]
    rows = [
        (_span(low, high - 1), str(count), "█" * -(-count * _BAR_WIDTH // max(counts)))
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    summary = (
        f"{lengths['sum']} control steps in all; {lengths['min']} in the shortest attempt, median "
        f"{lengths['median']:g}, {lengths['max']} in the longest."
    )
    return ["## Lengths", summary, markdown_table(left("steps", "attempts", ""), rows)]


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"


def _pixel_parts(pixels: Mapping[str, Any]) -> list[str]:
    between, cue = pixels["between_episodes"], pixels["cue"]
    parts = [
        "## The smidgen",
        f"A frame has {pixels['num_pixels']} pixels, all cameras together. A pixel counts as changed when any of "
        f"its colours differs by more than {pixels['quantisation_levels']} of 255 grey levels (rounding).",
    ]
    if between is not None:
        parts += [
            f"In the first frames, {_percent(between['share_of_first_frames'])} of the pixels differ between some "
            f"of the {between['num_episodes']} episodes; at the same step, {_percent(between['share_of_any_step'])} "
            f"(mean over the first {between['num_steps']} steps, which all of them reach).",
            f"![Standard deviation of each pixel]({PICTURE_NAME})",
        ]
    if cue is not None:
        moved, hidden = cue["moved"], cue["hidden"]
        parts += [
            f"In {cue['num_frames']} frames of {cue['num_pairs']} counterfactual pairs, in which only the cue "
            "differs from the recorded frames:",
            markdown_table(
                left("the cue is", "pixels changed, mean", "fewest", "most", "of all pixels", "frames that show it"),
                [("moved", *_count_cells(moved)), ("hidden", *_count_cells(hidden))],
            ),
            f"Moving it changes such a pixel by {cue['moved_levels']:.0f} grey levels on average.",
        ]
    return parts


def _count_cells(counts: Mapping[str, Any]) -> tuple[str, ...]:
    shares = (_percent(counts["share_of_pixels"]), _percent(counts["share_of_frames"]))
    return (f"{counts['mean']:.1f}", str(counts["min"]), str(counts["max"]), *shares)


def _percent(share: float | None) -> str:
    return _NOTHING if share is None else f"{100 * share:.3g} %"


def _number(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.4g}"
