"""Decimated visual meshes: what 64 x 64 pixels cannot show need not be drawn.

The Panda's visual meshes hold some 168,000 triangles. Each mesh that is only looked at, never touched, is reduced once
by quadric edge collapse (fast-simplification) and kept in a cache under its source's hash.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from functools import cache
from importlib.metadata import version
from pathlib import Path

import mujoco
import numpy as np

from smidgen.runtime.errors import UserError
from smidgen.runtime.files import sha256_bytes, write_atomic

_CHECKSUM = b"# sha256 "


def cache_directory() -> Path:
    """Where meshes are kept: below ``$SMIDGEN_CACHE``, else ``$XDG_CACHE_HOME/smidgen``, else ``~/.cache/smidgen``."""
    root = os.environ.get("SMIDGEN_CACHE")
    if root:
        return Path(root) / "meshes"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "smidgen" / "meshes"


def decimate_visual_meshes(
    xml: str, fraction: float, min_faces: int, whole: frozenset[str] = frozenset()
) -> tuple[str, str]:
    """Points a model's visual meshes to decimated copies.

    Args:
        xml: The model, with absolute paths to its mesh files.
        fraction: Share of each mesh's triangles to keep.
        min_faces: Triangles that a mesh keeps at least.
        whole: Names of meshes to leave as they are.

    Returns:
        The model with the paths replaced, and the SHA-256 over the decimated meshes in the model's order.
    """
    root = ET.fromstring(xml)
    geoms = [geom for geom in root.iter("geom") if geom.get("mesh")]
    visual = {geom.get("mesh", "") for geom in geoms if geom.get("group") == "1"}
    touched = {geom.get("mesh") for geom in geoms if geom.get("group", "0") != "1"}
    assert whole <= visual, f"no visual mesh of the names {sorted(whole - visual)}"
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
    """Meshes that wear a picture: decimation would lose the coordinates that pin it to the surface."""
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
            raise UserError(f"{error}: SMIDGEN_CACHE=DIR says where meshes are kept") from error
    return path


@cache
def _version(package: str) -> str:
    """A package's version; parsing its metadata for each mesh takes longer than reading the meshes."""
    return version(package)


def _is_intact(path: Path) -> bool:
    """Whether a cached mesh is the one that was written: an altered one would change every pixel unseen."""
    if not path.exists():
        return False
    content, separator, checksum = path.read_bytes().rpartition(_CHECKSUM)
    return bool(separator) and checksum.strip().decode(errors="replace") == sha256_bytes(content)


def _load(source: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads any mesh that MuJoCo reads, welded, in the file's own frame (MuJoCo stores it centred and turned)."""
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
