"""What an environment raises when an episode cannot go on. Imports no simulator."""


class SimulatorError(RuntimeError):
    """The simulation diverged; MuJoCo has reset itself, and nothing of this episode can be used from here on."""
