"""Operational-space control of an arm and its gripper, one torque per physics step.

The law is robosuite's OSC_POSE with absolute targets in the world frame (Khatib 1987, doi:10.1109/JRA.1987.1087068),
with the same gains, decoupling and posture term, so joint positions follow stock robosuite's to 1e-8. It is
cheaper: robosuite's Python computes inverses, pseudo-inverses and copies that the law does not need, 25 times a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from scipy.linalg import lapack

from smidgen.envs.errors import SimulatorError

POSITION_GAIN = 150.0
POSTURE_GAIN = 10.0
# Fraction of the gripper's stroke per control step at full command (robosuite's PandaGripper.speed).
GRIPPER_SPEED = 0.2


_DIVERGED = [mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC]
_FULL = [mujoco.mjtWarning.mjWARN_CONTACTFULL, mujoco.mjtWarning.mjWARN_CNSTRFULL]


@dataclass(frozen=True)
class ArmIndices:
    """Indices of one arm's quantities in the model.

    Attributes:
        site: The controlled site (the point between the fingertips).
        qpos: Joint positions, a slice of ``qpos``.
        dofs: Joint velocities, a slice of ``qvel``.
        actuators: Torque actuators, a slice of ``ctrl``.
        gripper_actuators: Finger actuators, indices into ``ctrl``; empty without a gripper.
    """

    site: int
    qpos: slice
    dofs: slice
    actuators: slice
    gripper_actuators: tuple[int, ...]


def arm_indices(model: mujoco.MjModel, robot: Any) -> ArmIndices:
    """Looks up a robosuite robot's right arm in the compiled model."""
    joints = [model.joint(name) for name in robot.robot_model.arm_joints]
    qpos, dofs = ([int(joint.qposadr[0]) for joint in joints], [int(joint.dofadr[0]) for joint in joints])
    actuators = [model.actuator(name).id for name in robot.robot_model.arm_actuators]
    for indices in (qpos, dofs, actuators):
        assert indices == list(range(indices[0], indices[-1] + 1)), "an arm's indices are contiguous"
    gripper = robot.gripper["right"]
    return ArmIndices(
        site=model.site(gripper.important_sites["grip_site"]).id,
        qpos=slice(qpos[0], qpos[-1] + 1),
        dofs=slice(dofs[0], dofs[-1] + 1),
        actuators=slice(actuators[0], actuators[-1] + 1),
        gripper_actuators=tuple(model.actuator(name).id for name in gripper.actuators),
    )


class OperationalSpaceController:
    """Drives a site to an absolute pose and keeps the arm near a posture with its remaining degrees of freedom.

    Args:
        model: The compiled model.
        data: Its state; read and written in place.
        arm: Indices of the arm's quantities.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, arm: ArmIndices) -> None:
        self._model, self._data, self._arm = model, data, arm
        self._jacobian = np.zeros((6, model.nv))
        self._mass_full = np.zeros((model.nv, model.nv))
        self._damping = 2.0 * np.sqrt(POSITION_GAIN)
        self._posture_damping = 2.0 * np.sqrt(POSTURE_GAIN)
        self._torque_low, self._torque_high = model.actuator_ctrlrange[arm.actuators].T.copy()
        fingers = list(arm.gripper_actuators)
        finger_range = model.actuator_ctrlrange[fingers]
        self._finger_middle = finger_range.mean(axis=1)
        self._finger_half_range = np.diff(finger_range, axis=1)[:, 0] / 2.0
        self._fingers = fingers
        self.posture_rad = np.array(data.qpos[arm.qpos])
        self.finger_command = np.zeros(len(fingers))

    def reset(self) -> None:
        """Takes the current joint positions as the posture to keep and sets the gripper to rest."""
        self.posture_rad = np.array(self._data.qpos[self._arm.qpos])
        self.finger_command = np.zeros(len(self._fingers))

    def step(
        self, target_position_m: np.ndarray, target_rotation: np.ndarray, gripper: float | None, num_substeps: int
    ) -> None:
        """Runs one control step of the simulation.

        Args:
            target_position_m: (3,) the site's target position in metres, world frame.
            target_rotation: (3, 3) its target rotation.
            gripper: Command in [-1 open, 1 closed]; only its sign matters, as in robosuite. None without a gripper.
            num_substeps: Physics steps in this control step.

        Raises:
            SimulatorError: If positions, velocities or accelerations are not finite or absurdly large, or contacts were
                dropped for lack of memory.
        """
        model, data = self._model, self._data
        if gripper is not None:
            # The fingers' ranges are mirrored, so closing lowers one command and raises the other.
            direction = np.array([-1.0, 1.0]) * np.sign(gripper)
            self.finger_command = np.clip(self.finger_command + GRIPPER_SPEED * direction, -1.0, 1.0)
            data.ctrl[self._fingers] = self._finger_middle + self._finger_half_range * self.finger_command
        for _ in range(num_substeps):
            mujoco.mj_step1(model, data)
            torque = self._torque(target_position_m, target_rotation)
            data.ctrl[self._arm.actuators] = np.minimum(np.maximum(torque, self._torque_low), self._torque_high)
            mujoco.mj_step2(model, data)
        if any(data.warning[kind].number for kind in _DIVERGED):
            raise SimulatorError(f"the simulation became unstable {data.time:.3f} s after its last reset")
        if any(data.warning[kind].number for kind in _FULL):
            raise SimulatorError("the simulation has no memory for all of its contacts")

    def _torque(self, target_position_m: np.ndarray, target_rotation: np.ndarray) -> np.ndarray:
        """Torque tau = J^T (w - A^-1 J v) + M v + bias, in N m.

        w is the decoupled wrench, v the posture's acceleration and A = J M^-1 J^T. This is robosuite's
        J^T w + N^T M v + bias with the null-space projector N multiplied out.
        """
        data, arm = self._data, self._arm
        mujoco.mj_jacSite(self._model, data, self._jacobian[:3], self._jacobian[3:], arm.site)
        mujoco.mj_fullM(self._model, self._mass_full, data.qM)
        jacobian, mass = self._jacobian[:, arm.dofs], self._mass_full[arm.dofs, arm.dofs]
        velocity = data.qvel[arm.dofs]
        twist = jacobian @ velocity
        rotation = data.site_xmat[arm.site].reshape(3, 3)
        force = POSITION_GAIN * (target_position_m - data.site_xpos[arm.site]) - self._damping * twist[:3]
        moment = POSITION_GAIN * _rotation_error(target_rotation, rotation) - self._damping * twist[3:]

        posture = POSTURE_GAIN * (self.posture_rad - data.qpos[arm.qpos]) - self._posture_damping * velocity
        mobility = jacobian @ _solve(mass, jacobian.T)
        wrench = np.concatenate([_solve(mobility[:3, :3], force), _solve(mobility[3:, 3:], moment)])
        wrench -= _solve(mobility, jacobian @ posture)
        return jacobian.T @ wrench + mass @ posture + data.qfrc_bias[arm.dofs]


def _solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solves a symmetric positive definite system; in a singular pose, in the least-squares sense as robosuite does."""
    _, solution, failure = lapack.dposv(matrix, right)
    return solution if failure == 0 else np.linalg.pinv(matrix) @ right


def _rotation_error(desired: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Half the sum of the axes' cross products: sin(angle) times the axis of the remaining rotation."""
    (_, xy, xz), (yx, _, yz), (zx, zy, _) = (desired @ current.T).tolist()
    return 0.5 * np.array([zy - yz, xz - zx, yx - xy])
