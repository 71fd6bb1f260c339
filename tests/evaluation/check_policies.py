"""Policies of known truth for the set of check_sets: where they look follows from how they are made."""

import numpy as np

SIZE = 16


def brightest(frames, channel):
    """Where the brightest pixel of a channel is, in 0..1: (B, 2)."""
    flat = frames[..., channel].reshape(len(frames), -1).argmax(axis=1)
    return (np.stack(np.divmod(flat, SIZE), axis=1) + 0.5) / SIZE


class Sees:
    """Finds the dot in the first camera, and its own arm in the state."""

    name, observes = "sees", ("frames", "eef_state")

    def reset(self, num_episodes=1, seed=0):
        self.seed = seed

    def act(self, observations):
        frames, state = observations["frames"][:, 0], observations["eef_state"]
        return state + 0.6 * (brightest(frames, 1) - state)


class SeesBoth(Sees):
    """Averages what both cameras show."""

    name = "sees_both"

    def act(self, observations):
        frames, state = observations["frames"], observations["eef_state"]
        cue = (brightest(frames[:, 0], 1) + brightest(frames[:, 1, :, ::-1], 1)) / 2
        return state + 0.6 * (cue - state)


class SeesByChunk(Sees):
    """The same, three steps at once."""

    name = "sees_by_chunk"

    def chunk(self, observations):
        frames, state = observations["frames"][:, -1, 0], observations["eef_state"][:, None]
        cue = brightest(frames, 1)[:, None]
        ahead = state + np.arange(3)[:, None] / 6 * (cue - state)
        return ahead + 0.6 * (cue - ahead)

    def act(self, observations):
        return self.chunk({**observations, "frames": observations["frames"][:, None]})[:, 0]


class SeesOnlyItsArm(Sees):
    """Looks, but at the arm: another episode's frames move it, and the dot does not."""

    name, observes = "sees_only_its_arm", ("frames",)

    def act(self, observations):
        return 0.4 * brightest(observations["frames"][:, 0], 0) + 0.3


class FollowsState(Sees):
    name = "follows_state"

    def act(self, observations):
        return 0.4 * observations["eef_state"] + 0.3


class Wavers(Sees):
    """Moves with every picture, and not towards anything."""

    name = "wavers"

    def act(self, observations):
        totals = observations["frames"].reshape(len(observations["frames"]), -1) @ np.arange(2 * SIZE * SIZE * 3)
        return np.stack([np.sin(totals), np.cos(1.7 * totals)], axis=1) / 10 + 0.5


class Draws(Sees):
    """Sees, and draws without a seed."""

    name = "draws"
    generator = np.random.default_rng()

    def act(self, observations):
        return super().act(observations) + self.generator.normal(0, 0.05, (len(observations["frames"]), 2))


class AnswersNan(Sees):
    name = "answers_nan"

    def act(self, observations):
        return np.full((len(observations["frames"]), 2), np.nan)


class WantsLargerFrames(Sees):
    name = "wants_larger_frames"

    def act(self, observations):
        return observations["frames"][:, 0, :, :, 0].reshape(-1, 32, 32)[:, :2, 0]


class Privileged(Sees):
    name, observes = "privileged", ("privileged",)


class Lifts:
    """Goes above the green cube that it sees, down, closes, and lifts; of the fake Lift."""

    name, observes = "lifts", ("frames", "eef_state")

    def reset(self, num_episodes=1, seed=0):
        self.closed = False

    def act(self, observations):
        green, gripper = observations["frames"][0, 0, :, :, 1], observations["eef_state"][0, :3]
        place = (np.array(np.unravel_index(green.argmax(), green.shape)) + 0.5) / len(green) * 0.6 - 0.3
        if self.closed:
            return np.array([[*gripper[:2], 0.95, 1.0]])
        is_above = np.abs(gripper[:2] - place).max() < 0.006
        self.closed = is_above and gripper[2] < 0.825
        return np.array([[*place, 0.821 if is_above else 0.9, 1.0 if self.closed else -1.0]])
