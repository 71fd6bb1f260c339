"""A robosuite model that is part of an environment's version: its visual meshes swapped, its hash known."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, ClassVar

from smidgen.envs.meshes import decimate_visual_meshes
from smidgen.envs.rendering import RenderProfile
from smidgen.envs.simulator import quiet_robosuite
from smidgen.runtime.files import sha256_bytes

# Contacts and constraints of the fullest scene (a nut on its peg, 139 contacts) take half a megabyte.
SIMULATION_MEMORY = "64M"


class FrozenModel:
    """Mixed into a robosuite environment: swaps the visual meshes and remembers the hash of what was compiled."""

    render_profile: RenderProfile
    model_sha256: str
    # Meshes that the task's picture shows too closely to decimate.
    whole_meshes: ClassVar[frozenset[str]] = frozenset()
    # Slices and stacks of cylinders and spheres; MuJoCo's own where None.
    cylinder_resolution: ClassVar[tuple[int, int] | None] = None

    def _initialize_sim(self, xml_string: str | None = None) -> None:
        self.set_xml_processor(self._freeze)  # type: ignore[attr-defined]
        super()._initialize_sim(xml_string)  # type: ignore[misc]

    def _freeze(self, xml: str) -> str:
        profile, meshes_sha256 = self.render_profile, ""
        if profile.mesh_fraction < 1.0:
            xml, meshes_sha256 = decimate_visual_meshes(
                xml, profile.mesh_fraction, profile.min_faces, self.whole_meshes
            )
            xml = _with_cylinder_resolution(xml, self.cylinder_resolution)
        self.model_sha256 = sha256_bytes((_without_folders(xml) + meshes_sha256).encode())
        return _with_memory(xml)


def _with_cylinder_resolution(xml: str, resolution: tuple[int, int] | None) -> str:
    if resolution is None:
        return xml
    root = ET.fromstring(xml)
    num_slices, num_stacks = resolution
    visual = ET.SubElement(root, "visual")
    ET.SubElement(visual, "quality", {"numslices": str(num_slices), "numstacks": str(num_stacks)})
    return ET.tostring(root, encoding="unicode")


def _with_memory(xml: str) -> str:
    """The model with room for the contacts that it meets; robosuite's, for 5,000, reserves 1.3 GB per simulation."""
    root = ET.fromstring(xml)
    for size in root.iter("size"):
        size.attrib.pop("nconmax", None)
        size.attrib.pop("njmax", None)
        size.set("memory", SIMULATION_MEMORY)
    return ET.tostring(root, encoding="unicode")


def _without_folders(xml: str) -> str:
    """The model with file names in place of paths, so that its hash does not depend on where packages are installed."""
    root = ET.fromstring(xml)
    for element in root.iter():
        for attribute in ("file", "meshdir", "texturedir"):
            if element.get(attribute):
                element.set(attribute, Path(element.get(attribute, "")).name)
    return ET.tostring(root, encoding="unicode")


def build_simulation(simulation_class: type[FrozenModel], render_profile: RenderProfile, control_hz: int) -> Any:
    """Makes a robosuite environment with a Panda and without any renderer or observable of its own.

    Args:
        simulation_class: A :class:`FrozenModel` and robosuite environment.
        render_profile: Decides the visual meshes.
        control_hz: Control steps per second.
    """
    # robosuite builds the model in its constructor, so the profile has to be there before: as a class attribute.
    profiled = type(simulation_class.__name__, (simulation_class,), {"render_profile": render_profile})
    with quiet_robosuite():
        return profiled(
            robots="Panda",
            renderer="mujoco",
            has_renderer=False,
            has_offscreen_renderer=False,
            use_camera_obs=False,
            use_object_obs=False,
            hard_reset=False,
            ignore_done=True,
            control_freq=control_hz,
            seed=0,
        )


def free_simulation(simulation: Any) -> None:
    """Gives a robosuite environment's memory back; it is of no more use.

    Its objects point at one another and at MuJoCo's arrays, so that only a full collection of garbage would free them,
    and those are rare: a process that opened many would grow too large to start another.
    """
    for robot in simulation.robots:
        vars(robot).clear()
    vars(simulation).clear()
