from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smidgen.policies.normaliser import MIN_DEVIATION_M, ActionNormaliser
from smidgen.runtime.action_spec import ActionSpec

ACTION = ActionSpec(
    ("x_m", "yaw_rad", "y_m", "gripper"),
    ("position", "yaw", "position", "gripper"),
    (-1.0, -math.pi / 2, -1.0, -1.0),
    (1.0, math.pi / 2, 1.0, 1.0),
)


def fitted() -> ActionNormaliser:
    normaliser = ActionNormaliser(ACTION)
    generator = torch.Generator().manual_seed(0)
    targets = torch.rand(500, 4, generator=generator, dtype=torch.float64) * torch.tensor([0.1, 1.0, 0.0, 1.0]) + 0.2
    normaliser.fit(targets)
    return normaliser


def test_positions_are_standardised_and_the_gripper_is_left_alone():
    normaliser = ActionNormaliser(ACTION)
    targets = torch.randn(1000, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 0.05 + 0.7
    normaliser.fit(targets)
    features = normaliser.encode(targets)
    assert features.dtype == torch.float32
    assert normaliser.num_features == features.shape[-1] == 5
    for column in (0, 3):
        assert features[:, column].mean().abs() < 1e-5
        assert features[:, column].std(correction=0) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(features[:, 4], targets[:, 3].float())


def test_a_constant_position_is_not_blown_up():
    assert fitted().deviation_A[2] == MIN_DEVIATION_M
    assert fitted().deviation_A[0] > MIN_DEVIATION_M


@settings(max_examples=100, deadline=None)
@given(
    st.floats(-0.9, 0.9), st.floats(-1.57, 1.57), st.floats(-0.9, 0.9), st.sampled_from([-1.0, 1.0]), st.integers(-2, 2)
)
def test_decode_undoes_encode_with_yaw_modulo_pi(x, yaw, y, gripper, turns):
    normaliser = fitted()
    action = torch.tensor([[x, yaw + turns * math.pi, y, gripper]], dtype=torch.float64)
    decoded = normaliser.decode(normaliser.encode(action))
    assert decoded.dtype == torch.float64
    torch.testing.assert_close(decoded[:, [0, 2, 3]], action[:, [0, 2, 3]], atol=1e-5, rtol=0)
    assert abs(math.remainder(float(decoded[0, 1]) - yaw, math.pi)) < 1e-5
    assert -math.pi / 2 <= decoded[0, 1] <= math.pi / 2


def test_the_same_grasp_has_the_same_features():
    normaliser = fitted()
    action = torch.tensor([[0.1, 0.4, 0.2, 1.0], [0.1, 0.4 - math.pi, 0.2, 1.0]], dtype=torch.float64)
    features = normaliser.encode(action)
    torch.testing.assert_close(features[0], features[1])


def test_statistics_travel_in_the_state_dict():
    normaliser, other = fitted(), ActionNormaliser(ACTION)
    other.load_state_dict(normaliser.state_dict())
    action = torch.rand(3, 8, 4, dtype=torch.float64)
    assert torch.equal(normaliser.encode(action), other.encode(action))


@pytest.mark.parametrize("targets", [torch.zeros(5, 3), torch.full((5, 4), math.nan), torch.zeros(4)])
def test_wrong_targets_are_refused(targets):
    with pytest.raises(ValueError, match="expected finite targets"):
        ActionNormaliser(ACTION).fit(targets)
