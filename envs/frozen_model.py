"""A robosuite model that is part of an environment's version: its visual meshes decimated, its hash known.

What 64 x 64 pixels cannot show need not be drawn. The Panda's visual meshes hold some 168,000 triangles. Each mesh that
is only looked at, never touched, is reduced once by quadric edge collapse (fast-simplification) and kept in a cache
under its source's hash.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import mujoco
import numpy as np

from smidgen.envs.rendering import RenderProfile
from smidgen.envs.simulator import quiet_robosuite
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import sha256_bytes, write_atomic
from smidgen.runtime.places import cache_root

# Contacts and constraints of the fullest scene (a nut on its peg, 139 contacts) take half a megabyte.
SIMULATION_MEMORY = "64M"
_CHECKSUM = b"# sha256 "


class FrozenModel:
    """Mix-in for a robosuite environment: replaces the visual meshes and records the hash of the compiled model."""

    render_profile: RenderProfile
    model_sha256: str
    # Meshes that the task's camera shows too closely to decimate.
    whole_meshes: ClassVar[frozenset[str]] = frozenset()
    # Slices and stacks of cylinders and spheres; None: MuJoCo's default.
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
    """The model with memory for its actual contacts; robosuite reserves 1.3 GB per simulation, for 5,000."""
    root = ET.fromstring(xml)
    for size in root.iter("size"):
        size.attrib.pop("nconmax", None)
        size.attrib.pop("njmax", None)
        size.set("memory", SIMULATION_MEMORY)
    return ET.tostring(root, encoding="unicode")


def _without_folders(xml: str) -> str:
    """The model with file names instead of paths, so that its hash does not depend on where packages are installed."""
    root = ET.fromstring(xml)
    for element in root.iter():
        for attribute in ("file", "meshdir", "texturedir"):
            if element.get(attribute):
                element.set(attribute, Path(element.get(attribute, "")).name)
    return ET.tostring(root, encoding="unicode")


def build_simulation(simulation_class: type[FrozenModel], render_profile: RenderProfile, control_hz: int) -> Any:
    """Makes a robosuite environment with a Panda, without robosuite's renderers and observables.

    Args:
        simulation_class: A :class:`FrozenModel` and robosuite environment.
        render_profile: Determines the visual meshes.
        control_hz: Control steps per second.
    """
    # robosuite builds the model in its constructor, so the profile must be set before: as a class attribute.
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
    """Releases a robosuite environment's memory; the environment is unusable afterwards.

    Its objects form reference cycles that hold MuJoCo's arrays, so only a full garbage collection would free them, and
    those are rare: a process that opened many would run out of memory.
    """
    for robot in simulation.robots:
        vars(robot).clear()
    vars(simulation).clear()


def cache_directory() -> Path:
    """The mesh cache, below :func:`smidgen.runtime.places.cache_root`."""
    return cache_root() / "meshes"


def decimate_visual_meshes(
    xml: str, fraction: float, min_faces: int, whole: frozenset[str] = frozenset()
) -> tuple[str, str]:
    """Replaces a model's visual meshes by decimated copies.

    Args:
        xml: The model, with absolute paths to its mesh files.
        fraction: Fraction of each mesh's triangles to keep.
        min_faces: Minimum number of triangles to keep.
        whole: Names of meshes to leave unchanged.

    Returns:
        The model with the paths replaced, and the SHA-256 of the decimated meshes in the model's order.
    """
    root = ET.fromstring(xml)
    geoms = [geom for geom in root.iter("geom") if geom.get("mesh")]
    visual = {geom.get("mesh", "") for geom in geoms if geom.get("group") == "1"}
    touched = {geom.get("mesh") for geom in geoms if geom.get("group", "0") != "1"}
    assert whole <= visual, f"no visual meshes named {sorted(whole - visual)}"
    textured = _textured_meshes(root, geoms)
    hashes = []
    for mesh in root.iter("mesh"):
        source = mesh.get("file")
        if source is None or mesh.get("name") not in visual - touched - textured - whole:
            continue
        path = _decimated(Path(source), fraction, min_faces)
        hashes.append(sha256_bytes(path.read_bytes()))
        mesh.set("file", str(path))
    return ET.tostring(root, encoding="unicode"), sha256_bytes("".join(hashes).encode())


def _textured_meshes(root: ET.Element, geoms: list[ET.Element]) -> set[str | None]:
    """Textured meshes: decimation would lose their texture coordinates."""
    materials = {material.get("name") for material in root.iter("material") if material.get("texture")}
    return {geom.get("mesh") for geom in geoms if geom.get("material") in materials}


def _decimated(source: Path, fraction: float, min_faces: int) -> Path:
    recipe = f"{fraction} {min_faces} {_version('fast-simplification')} {_version('mujoco')}".encode()
    path = cache_directory() / f"{sha256_bytes(source.read_bytes() + recipe)}.obj"
    if not _is_intact(path):
        vertices, faces = _load(source)
        target = max(round(fraction * len(faces)), min_faces)
        if target < len(faces):
            vertices, faces = _simplify(vertices, faces, 1.0 - target / len(faces))
        content = _wavefront(vertices, faces)
        try:
            write_atomic(path, content + _CHECKSUM + sha256_bytes(content).encode() + b"\n", durable=False)
        except UserError as error:
            raise UserError(f"{error}: SMIDGEN_CACHE=DIR sets the cache directory for meshes") from error
    return path


@cache
def _version(package: str) -> str:
    """A package's version, cached; parsing its metadata for each mesh takes longer than reading the meshes."""
    return version(package)


def _is_intact(path: Path) -> bool:
    """Whether a cached mesh is unaltered: an altered one would silently change every pixel."""
    if not path.exists():
        return False
    content, separator, checksum = path.read_bytes().rpartition(_CHECKSUM)
    return bool(separator) and checksum.strip().decode(errors="replace") == sha256_bytes(content)


def _load(source: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads any mesh that MuJoCo reads, welded, in the file's frame (MuJoCo stores it centred and rotated)."""
    model = mujoco.MjModel.from_xml_string(
        f'<mujoco><asset><mesh name="mesh" file="{source}"/></asset>'
        '<worldbody><geom type="mesh" mesh="mesh"/></worldbody></mujoco>'
    )
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.mesh_quat[0])
    vertices = model.mesh_vert @ rotation.reshape(3, 3).T + model.mesh_pos[0]
    welded, index = np.unique(vertices.round(7), axis=0, return_inverse=True)
    return welded, index.reshape(-1)[model.mesh_face]


def _simplify(vertices: np.ndarray, faces: np.ndarray, reduction: float) -> tuple[np.ndarray, np.ndarray]:
    import fast_simplification

    return fast_simplification.simplify(vertices.astype(np.float32), faces.astype(np.int32), target_reduction=reduction)


def _wavefront(vertices: np.ndarray, faces: np.ndarray) -> bytes:
    lines = [f"v {x:.7g} {y:.7g} {z:.7g}" for x, y, z in vertices.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (faces + 1).tolist()]
    return ("\n".join(lines) + "\n").encode()
