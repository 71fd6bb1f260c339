"""A datasheet as Markdown, computed from its JSON object alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smidgen.runtime.markdown import left, markdown_table

PICTURE_NAME = "pixel_variance.png"
_BAR_WIDTH = 30
_NOTHING = "-"
_ACTION_FIGURES = ("min", "max", "mean", "sd")


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
