"""Errors for episodes that cannot continue and frames that cannot be trusted. Imports no simulator."""

import numpy as np

from smidgen.runtime.errors import UserError


class SimulatorError(RuntimeError):
    """The simulation diverged (MuJoCo then resets itself): the rest of this episode is unusable."""


# These end an attempt or an episode as a failure that counts.
SIMULATOR_ERRORS = (SimulatorError, FloatingPointError, np.linalg.LinAlgError)


class PixelError(UserError):
    """This process's frames cannot be trusted: the current episode is dropped, and the process stops."""


def untrusted_pixels(complaint: str) -> PixelError:
    """The error for wrong frames, with the fix."""
    return PixelError(
        f"this process's frames cannot be trusted: {complaint}; run smidgen-doctor, then the same command again "
        "(finished episodes are kept)"
    )
