"""``docs/transforms.md`` says what the code does."""

from __future__ import annotations

from pathlib import Path

import torch

from smidgen.policies.transforms import TRANSFORMS, build_transform, transform_options

PAGE = Path(__file__).resolve().parents[2] / "docs" / "transforms.md"
BEGIN, END = "<!-- transforms table: begin -->", "<!-- transforms table: end -->"
YES_NO = {True: "yes", False: "no"}


def line(name: str) -> str:
    """A transform's row, read off the class and what it gives for one example."""
    transform = build_transform(name, grid=(3, 64, 64), channels=3)
    x = torch.rand(2, 12288, 3, generator=torch.manual_seed(0))
    transform.fit(x)
    _, num_tokens, channels = transform(x).shape
    learns = "parameters" if transform.is_learned else "statistics" if transform.needs_fit else "nothing"
    options = ", ".join(f"`{option}`" for option in transform_options(name) if option != "scale") or "-"
    flags = [YES_NO[transform.is_orthonormal], YES_NO[transform.is_bijection]]
    return f"| {' | '.join([f'`{name}`', f'{num_tokens:,}', str(channels), *flags, learns, options])} |"


def table() -> str:
    heads = ("transform", "tokens", "channels", "orthonormal", "bijection", "learns", "options beside `scale`")
    rules = ("---", "---:", "---:", "---", "---", "---", "---")
    return "\n".join([f"| {' | '.join(heads)} |", f"| {' | '.join(rules)} |", *(line(name) for name in TRANSFORMS)])


def test_the_table_is_what_the_code_gives() -> None:
    page = PAGE.read_text(encoding="utf-8")
    written = page.partition(BEGIN)[2].partition(END)[0].strip()
    assert written == table(), f"write this between the markers of {PAGE.name}:\n\n{table()}\n"


def test_every_transform_has_a_definition() -> None:
    definitions = PAGE.read_text(encoding="utf-8").partition("## Definitions")[2]
    named = [text.split("|")[1].strip() for text in definitions.splitlines() if text.startswith("| `")]
    assert named == [f"`{name}`" for name in TRANSFORMS]
