"""The check before a data set is used: are its frames those of its states?"""

from __future__ import annotations

import importlib.metadata
import sys

from smidgen.data_collection.store import EpisodeStore
from smidgen.runtime.command_line import one_line
from smidgen.runtime.errors import UserError

SIMULATORS = ("mujoco", "robosuite")


def certify(store: EpisodeStore, required: bool | None, *, others_only: bool = False) -> None:
    """Replays a data set before it is trained on or exported, and prints what that gave.

    Args:
        store: The data set.
        required: True: a fault is an error, as is a set that nothing here renders. None: both are warnings. False: the
            set is used as it is.
        others_only: With None, replays only sets that another simulator made.

    Raises:
        UserError: If a certificate is required and the set gets none.
    """
    if required is False or (required is None and others_only and not is_of_another_simulator(store)):
        return
    try:
        print(certificate(store))
    except UserError as error:
        if required:
            raise UserError(f"{error}; certify=false uses the set as it is") from error
        print(f"warning: not certified: {one_line(str(error))}", file=sys.stderr)


def certificate(store: EpisodeStore) -> str:
    """Replays a data set; returns one line that certifies it.

    Raises:
        UserError: If frames are not those of their states (it names the fault), or if nothing here renders them.
    """
    # Imported here: it loads the simulator.
    from smidgen.data_collection.replay import replay

    found = replay(store)
    if found.fault:
        raise UserError(f"{store.directory}: only {found.line()}: {found.fault}")
    return f"{store.directory}: {found.line()}"


def is_of_another_simulator(store: EpisodeStore) -> bool:
    """Whether its frames are of another MuJoCo or robosuite than those here, or may be.

    An imported set does not say which MuJoCo drew its frames, so it may always be. One that came without model files
    has nothing to render.
    """
    environment = store.manifest["environment"]
    if (imported := environment.get("imported")) is not None:
        return isinstance(imported, dict) and "model_files" in imported
    here = {name: importlib.metadata.version(name) for name in SIMULATORS}
    return any(environment.get(name, version) != version for name, version in here.items())
