"""Where a Perceiver starts looking, beside the second round: ``suite=studies.claims:ROUND_TWO_B``.

Plateaus are uniform attention. The arms change the attention that training starts with, without and with centring, on
one token and on Lift pictures, each at a rate of its own; what they are compared with are arms of the second round,
whose records are taken from there. Last come raw tokens and a 1-D DFT at gains that give content the same share of
both.
"""

from __future__ import annotations

import functools

from studies.claims import step_costs
from studies.claims.arms import ArmBook, Cell
from studies.claims.cells import HORIZONS, STARTS, STRUCTURED
from studies.claims.contrasts import Contrast, slower
from studies.claims.plan import StudyPlan, ordered_steps
from studies.claims.records import Records, read_records
from studies.claims.round_two import FOLDER, Round, build_plan

PLAN_PATH = FOLDER / "plan-2b.json"
RECORDS = FOLDER / "2b"
SUITE = "claims-round-2b"
# Of each lever: its name and that of what it is compared with; network and look of both.
Lever = tuple[str, tuple[str, str], tuple[str, str]]
LEVERS: dict[str, Lever] = {
    "windows of their own": ("random latents", ("", "located"), ("", "")),
    "higher windows of their own": ("random latents", ("", "located10"), ("", "")),
    "queries four times as sharp": ("plain queries", ("", "gain4"), ("", "")),
    "32 latents": ("8 latents", ("latents32", ""), ("", "")),
    "a second look, with two layers": ("two layers", ("layers2", "looks2"), ("layers2", "")),
    "content of gain 8": ("content of gain 1", ("", "content8"), ("", "")),
}
# With 1-D positions, transform and look of the slower arm and of the faster one. A DFT's tokens have half as many
# position features beside twice the content: at four times the gain raw tokens hold the same share of content by
# absolute values, at twice the gain by squares (T21).
SHARES: dict[str, tuple[tuple[str, str], tuple[str, str]]] = {
    "raw tokens, content of gain 4, over the DFT: equal shares by absolute values": (
        ("raw", "content4"),
        ("dft1d", ""),
    ),
    "raw tokens, content of gain 2, over the DFT: equal shares by squares": (("raw", "content2"), ("dft1d", "")),
    "raw tokens, content of gain 64, over the DFT, of gain 16: equal shares by absolute values": (
        ("raw", "content64"),
        ("dft1d", "content16"),
    ),
    "raw tokens, content of gain 1 over gain 64": (("raw", ""), ("raw", "content64")),
    "the DFT, content of gain 1 over gain 16": (("dft1d", ""), ("dft1d", "content16")),
}
NOTES = (
    "Arms of the second round are not run again: their records are taken from there, so a contrast is shown once both "
    "of its arms have ten seeds.",
    "A second look needs a second layer, so it is compared with two layers and one look.",
    "A one-seed prototype on Lift escaped earlier with windows of deviation 0.15 and 6 to 8 nats where tokens were "
    "centred, and not at all in 1,100 steps where they were not: centring and the start are two levers, and each is "
    "asked with the other and without.",
    "Content that counts for more beside positions was added later, before its runs, when it had been seen to let a "
    "policy see on Speck of 4 pixels. With 1-D positions it asks whether the share of content, which differs between "
    "raw tokens and a DFT's, is what their comparison shows.",
    "Descriptive throughout: ten seeds, plain intervals, no verdict.",
)


@functools.cache
def build_plan_b() -> StudyPlan:
    """The plan of this version: levers, then gains."""
    book, second = ArmBook(), build_plan()
    contrasts: dict[str, Contrast] = {}
    for data in ("one_token", "frames"):
        for after in ("centre", "none"):
            for lever, (other, changed, plain) in LEVERS.items():
                fast, slow = (_add(book, data, after, *each) for each in (changed, plain))
                contrasts[f"start.{fast}"] = slower(
                    f"{data}, {after}: {other} over {lever}",
                    slow,
                    fast,
                    _horizon(data, after),
                    uncentred=after == "none",
                )
    for after in ("centre", "token"):
        for told, pair in SHARES.items():
            slow, fast = (_add(book, "one_token", after, "", look, transform, "1d") for transform, look in pair)
            contrasts[f"content.{slow}-{fast}"] = slower(
                f"one_token, {after}, 1-D positions: {told}", slow, fast, _horizon("one_token", after)
            )
    arms = {name: second.arms.get(name, arm) for name, arm in book.arms.items()}
    order = ordered_steps([], [name for name in arms if name not in second.arms], arms)
    costs = step_costs.at_most_core_hours(arms, order, FOLDER / step_costs.FILE)
    return StudyPlan(claims={}, contrasts=contrasts, arms=arms, order=order, notes=NOTES, at_most_core_hours=costs)


def _horizon(data: str, after: str) -> int:
    return STRUCTURED if data == "frames" else HORIZONS[after]


def _add(
    book: ArmBook, data: str, after: str, network: str, look: str, transform: str = "raw", positions: str = "axes"
) -> str:
    return book.add(
        Cell(
            transform=transform,
            after=after,
            data=data,
            positions=positions,
            network=network,
            look=look,
            horizon=_horizon(data, after),
            lrs=STARTS[after],
        )
    )


def read_both_rounds(plan: StudyPlan) -> Records:
    """The records of a plan's arms, those of the second round's from there."""
    own, second = read_records(RECORDS, plan.arms), read_records(FOLDER, build_plan().arms)
    shared = {name: blocks for name, blocks in second.blocks.items() if name in plan.arms}
    return Records({**own.blocks, **shared})


ROUND_TWO_B = Round(build_plan_b, RECORDS, PLAN_PATH, SUITE)
