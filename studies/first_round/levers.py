"""What gets a small Perceiver off the mean sooner, by measured effect: the table of docs/my-policy-is-blind.md."""

from __future__ import annotations

from smidgen.runtime.markdown import left, markdown_table, right
from studies.first_round.effects import measure
from studies.first_round.plan import Comparison
from studies.first_round.records import Suite
from studies.first_round.wording import effect_interval, effect_value

# What is changed, the arm without it, the arm with it: alike in everything else but the learning rate tuned for each.
LEVERS = (
    ("subtract each token's mean (`standardise_after=centre`)", "raw", "raw.centre"),
    ("centre a 3-D DFT's coefficients (`transform=dft3d standardise_after=centre`)", "dft3d", "dft3d.centre"),
    ("per-token standardisation (`standardise_after=token`)", "raw", "raw.token"),
    ("a 3-D DFT beside per-token standardisation", "raw.token", "dft3d.token"),
    ("a 3-D DFT beside centring", "raw.centre", "dft3d.centre"),
    ("a 3-D DFT alone", "raw", "dft3d"),
    ("latents that start at scale 1 instead of 0.02", "raw", "raw.latents1"),
    ("no LayerNorm over the input", "raw", "raw.no-layer-norm"),
    ("positions per axis instead of along one axis", "raw.positions-one_d", "raw"),
    ("LAMB instead of Adam", "raw", "raw.lamb"),
)


def levers_table(suite: Suite) -> str:
    """A Markdown table: how many times sooner runs leave the mean with each lever, the largest first.

    Raises:
        KeyError: If an arm has not run.
    """
    comparisons = [Comparison(name="lever", kind="ratio", slow=(old,), fast=(new,)) for _, old, new in LEVERS]
    effects = [measure(comparison, suite) for comparison in comparisons]
    order = sorted(zip(effects, LEVERS, strict=True), key=lambda pair: -pair[0].value)
    heads = left("lever") + right("leaves the mean sooner by [95 % interval]") + left("arms")
    return markdown_table(
        heads,
        [
            (what, f"{effect_value(effect)} [{effect_interval(effect)}]", f"`{old}` → `{new}`")
            for effect, (what, old, new) in order
        ],
    )
