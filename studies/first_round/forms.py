"""The two forms of the suite: their arms, seeds and tuning, and the plan that is written before the first run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from smidgen.policies.choose_transform import ORIGINAL_RULE, OUR_RULE
from smidgen.policies.perceiver import PerceiverConfig
from smidgen.runtime.errors import unknown_name
from studies.first_round import input_hypotheses, training_hypotheses
from studies.first_round.arms import Arm, ArmBook
from studies.first_round.comparisons import larger_gain, lower_regret, slower, worse
from studies.first_round.more_arms import add_more_arms
from studies.first_round.plan import Claim, Hypothesis, Plan, Tuning
from studies.ladder.side_by_side import LadderTraining
from studies.synthetic.config import LadderConfig


@dataclass(frozen=True)
class Form:
    """A form of the suite.

    Attributes:
        plan: What is written down.
        arms: The arms, typed, under the plan's names.
    """

    plan: Plan
    arms: dict[str, Arm]

    @property
    def rivals(self) -> dict[str, str]:
        """For each arm in whose record a rule's choices stand: the other arm that the rule may choose."""
        comparisons = [each for hypothesis in self.plan.hypotheses.values() for each in hypothesis.comparisons]
        pairs = [zip(each.slow, each.fast, strict=True) for each in comparisons if each.kind == "regret"]
        return {slow: fast for arms in pairs for slow, fast in arms}


NETWORK = PerceiverConfig(num_latents=8, latent_dim=32, num_layers=1, num_heads=2)
MAX_STEPS = 10_000

HYPOTHESES: dict[str, Callable[[ArmBook], Hypothesis]] = {
    "H1": input_hypotheses.h1,
    "H2": input_hypotheses.h2,
    "H3": input_hypotheses.h3,
    "H4": input_hypotheses.h4,
    "H5": input_hypotheses.h5,
    "H6": input_hypotheses.h6,
    "H7": input_hypotheses.h7,
    "H8": input_hypotheses.h8,
    "H9": training_hypotheses.h9,
    "H10": training_hypotheses.h10,
    "H11": training_hypotheses.h11,
    "choice-per-data-set": training_hypotheses.choice_per_data_set,
    "our-rule": training_hypotheses.our_rule,
    "few-tokens": training_hypotheses.few_tokens,
    "gain-lost-with-length": training_hypotheses.gain_lost_with_length,
    "gain-kept-with-length": training_hypotheses.gain_kept_with_length,
}


def full_form() -> Form:
    """H1 to H11 and C1 to C7: ten seeds, up to 10,000 steps, 256 to 49,152 tokens."""
    book = ArmBook(
        Arm(data=LadderConfig(kind="one_token"), network=NETWORK, training=LadderTraining(max_steps=MAX_STEPS))
    )
    hypotheses = {name: build(book) for name, build in HYPOTHESES.items()}
    add_more_arms(book)
    plan = Plan(
        form="full",
        seeds=tuple(range(10)),
        tuning=Tuning(seeds=(100, 101), lrs=(1e-4, 3e-4, 1e-3, 3e-3, 1e-2), max_steps=2_000),
        max_steps=MAX_STEPS,
        arms=book.plans(),
        hypotheses=hypotheses,
        claims=training_hypotheses.claims(),
    )
    return Form(plan, book.arms)


def smoke_form() -> Form:
    """Every kind of comparison on two seeds, 64 tokens and a few dozen steps: for tests, its verdicts mean nothing."""
    training = LadderTraining(max_steps=40, warmup_steps=2, measure_every=5)
    network = PerceiverConfig(num_latents=2, latent_dim=8, num_layers=1, num_heads=1)
    book = ArmBook(Arm(data=LadderConfig(kind="one_token", grid=(1, 8, 8)), network=network, training=training))
    raw, dft = (book.add(transform) for transform in ("raw", "dft1d"))
    raw_token, dft_token = (book.add(transform, "token") for transform in ("raw", "dft1d"))
    noisy = {"background": "noise", "noise_sd": 0.01, "num_train": 8, "num_held_out": 4}
    raw_noisy, dft_noisy = (book.add(transform, "centre", **noisy) for transform in ("raw", "dft1d"))
    pairs = [(raw, dft), (raw_token, dft_token)]
    comparisons = {
        "ratio": slower("ratio", raw, dft),
        "interaction": larger_gain("interaction", pairs[1], pairs[0]),
        "fvu": worse("fvu", dft_noisy, raw_noisy),
        "regret": lower_regret("regret", ORIGINAL_RULE, "coin", pairs),
        "our-regret": lower_regret("regret", OUR_RULE, "always_slow", [(dft, raw)]),
    }
    hypotheses = {
        kind: Hypothesis(statement=f"A {kind} is measured.", refuted_if="it is not", comparisons=(comparison,))
        for kind, comparison in comparisons.items()
    }
    plan = Plan(
        form="smoke",
        seeds=(0, 1),
        tuning=Tuning(seeds=(100,), lrs=(1e-3, 1e-2), max_steps=20),
        max_steps=training.max_steps,
        arms=book.plans(),
        hypotheses=hypotheses,
        claims={"C1": Claim(statement="A claim is read.", hypotheses=("ratio", "not fvu"), rule="any")},
    )
    return Form(plan, book.arms)


FORMS: dict[str, Callable[[], Form]] = {"full": full_form, "smoke": smoke_form}


def build_form(name: str) -> Form:
    """Builds one of ``FORMS``.

    Raises:
        UserError: If the name is unknown.
    """
    if name not in FORMS:
        raise unknown_name("form", name, FORMS)
    return FORMS[name]()
