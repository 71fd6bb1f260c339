"""What an environment raises when an episode cannot go on. Imports no simulator."""


class SimulatorError(RuntimeError):
    """The simulation diverged (MuJoCo then resets itself): nothing of this episode can be used from here on."""
