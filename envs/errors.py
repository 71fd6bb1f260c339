"""What an environment raises when an episode cannot go on, or its frames cannot be kept. Imports no simulator."""

import numpy as np

from smidgen.runtime.errors import UserError


class SimulatorError(RuntimeError):
    """The simulation diverged (MuJoCo then resets itself): nothing of this episode can be used from here on."""


# End an attempt or an episode as a failure that counts.
SIMULATOR_ERRORS = (SimulatorError, FloatingPointError, np.linalg.LinAlgError)


class PixelError(UserError):
    """This process's frames cannot be trusted: the episode under way is dropped, and the process's work ends."""


def untrusted_pixels(complaint: str) -> PixelError:
    """The error for frames that are wrong, with the fix."""
    return PixelError(
        f"this process's frames cannot be trusted: {complaint}; run smidgen-doctor, then the same command again "
        "(finished episodes are kept)"
    )
