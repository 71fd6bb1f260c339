"""What renders a data set's states again: one of our environments, or the models that an imported set brings."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from smidgen.data_collection.array_files import Array
from smidgen.data_collection.episode import Episode
from smidgen.data_collection.formats.pictures import squares
from smidgen.data_collection.manifest import ModelFiles, changed_fields
from smidgen.data_collection.store import EpisodeStore
from smidgen.envs.selfcheck import make_checked_env
from smidgen.envs.stored_model import StoredModel, package_version
from smidgen.envs.tasks import get_task
from smidgen.runtime.errors import UserError
from smidgen.runtime.schemas import check_type

# What rendered frames show, by how they would differ from the stored ones in words; "" shows the state itself.
Views = dict[str, Array]
AS_STORED = ""


class Scene(Protocol):
    """Renders states of one data set, in frames of one size.

    Attributes:
        rounds: What makes its frames differ by a few grey levels, in words.
    """

    rounds: str

    def show(self, episode: Episode, step: int) -> Views:
        """Frames uint8 (N, H, W, 3) of a state, and of whatever else may have been recorded in its place."""

    def elsewhere(self) -> str:
        """How the simulator that made the set differs from the one here, in words; "" if it does not."""

    def close(self) -> None:
        """Releases what it holds."""


class OwnScene:
    """One of our environments.

    Args:
        store: The data set.
        env: The environment that its header describes.
    """

    rounds = "another renderer or processor"

    def __init__(self, store: EpisodeStore, env: Any) -> None:
        self._store, self._env = store, env.unwrapped
        self._seed: int | None = None
        self._hides_cue = bool(store.manifest["config"].get("hide_cue"))

    def show(self, episode: Episode, step: int) -> Views:
        """As :meth:`Scene.show`.

        Raises:
            UserError: If the state is not one of this environment's.
        """
        if episode.seed != self._seed:
            self._env.reset(seed=episode.seed)
            self._seed = episode.seed
        try:
            self._env.set_state(episode.states[step])
        except ValueError as error:
            raise UserError(
                f"{self._store.directory}: seed {episode.seed}, step {step}: {error}; another version made it"
            ) from error
        with self._env.cue_hidden() if self._hides_cue else contextlib.nullcontext():
            return {AS_STORED: self._env.render_frames()}

    def elsewhere(self) -> str:
        """As :meth:`Scene.elsewhere`."""
        return changed_fields(self._store.manifest["environment"], self._env.fingerprint()["ranked"])

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()


class ImportedScene:
    """The models that an imported set brings, one for each episode.

    Args:
        store: The data set.
        model_files: What its header says of them; see :class:`smidgen.data_collection.manifest.ModelFiles`.
        image_size: Rows and columns of the frames, in place of those that the set came with; 0: as it came.
    """

    # MuJoCo saves a model with six digits; frames recorded before it was saved show the others.
    rounds = "another renderer or processor, or the model before it was saved"

    def __init__(self, store: EpisodeStore, model_files: Mapping[str, Any], image_size: int = 0) -> None:
        self._store, self._facts = store, model_files
        cameras = {name: tuple(model_files["image_sizes"][name]) for name in store.cameras}
        self._drawn_sizes = {name: (image_size, image_size) if image_size else size for name, size in cameras.items()}
        self._image_size = image_size or store.manifest["image_size"]
        self._seed: int | None = None
        self._model: StoredModel | None = None

    def show(self, episode: Episode, step: int) -> Views:
        """As :meth:`Scene.show`; robosuite's own observations lag behind its states by one physics step.

        Raises:
            UserError: If the episode brings no model, or it cannot be drawn.
        """
        model = self._model_of(episode.seed)
        lag = (
            f"show the scene one physics step ({model.timestep_s:g} s) before their states (as robosuite's own "
            "observations do)"
        )
        return {words: self._frames(model, episode.states[step], ago) for words, ago in ((AS_STORED, 0), (lag, 1))}

    def _frames(self, model: StoredModel, state: Array, steps_ago: int) -> Array:
        frames = model.show(state, steps_ago)
        return np.stack([squares(frames[name][None], self._image_size)[0] for name in self._drawn_sizes])

    def _model_of(self, seed: int) -> StoredModel:
        if seed != self._seed or self._model is None:
            self.close()
            source = f"{self._store.directory}: episode {seed}"
            xml = self._store.model(seed)
            if not xml:
                raise UserError(f"{source} brings no model file: nothing renders its states")
            self._model = StoredModel(
                xml, source, self._drawn_sizes, self._facts["visual_meshes"], self._facts["collision_meshes"]
            )
            self._seed = seed
        return self._model

    def elsewhere(self) -> str:
        """As :meth:`Scene.elsewhere`; such sets do not say which MuJoCo made them."""
        there, here = self._facts["robosuite"], package_version()
        return "" if there == here else f"robosuite {there or 'of an unknown version'} there, {here} here"

    def close(self) -> None:
        """Releases the model."""
        if self._model is not None:
            self._model.close()
        self._model = None


MakeScene = Callable[[EpisodeStore, int], Scene]


def scene_of(store: EpisodeStore, image_size: int = 0) -> Scene:
    """What renders a data set's states.

    Args:
        store: The data set.
        image_size: Rows and columns of the frames, in place of the set's own; 0: its own.

    Raises:
        UserError: If the set is imported without models, or its task is not one of ours.
    """
    manifest = store.manifest
    imported = manifest["environment"].get("imported")
    if imported is None:
        env = make_checked_env(
            get_task(manifest["task"]).name,
            cameras=tuple(manifest["cameras"]),
            image_size=image_size or manifest["image_size"],
            render_profile=manifest["config"].get("render_profile", "v0"),
            observe_pixels=False,
        )
        return OwnScene(store, env)
    facts = imported.get("model_files") if isinstance(imported, dict) else None
    if facts is None:
        raise UserError(f"{store.directory} was imported from {imported!s:.200} without model files to render it")
    check_type(facts, ModelFiles, str(store.directory), "environment.imported.model_files")
    if missing := set(store.cameras) - set(facts["image_sizes"]):
        raise UserError(f"{store.directory}: its header does not say how large {sorted(missing)[0]:.60} was: altered?")
    return ImportedScene(store, facts, image_size)
