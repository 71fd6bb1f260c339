"""The MuJoCo model that a data set of others brings as XML: checked, compiled from robosuite's assets, and drawn.

robosuite and robomimic store each demonstration's model as ``env.sim.model.get_xml()``, with the paths that its meshes
and textures had on the machine that made it. MuJoCo reads whatever file a model names, so it gets neither a path nor an
element that could hold one: the XML is parsed here, what no picture is drawn from is dropped, every element that is not
known is refused, and assets are read here, from robosuite's own folder alone, and handed over as bytes.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import mujoco
import numpy as np

from smidgen.envs.rendering import SceneRenderer, parse_image_size
from smidgen.runtime.errors import UserError

ASSET_PACKAGE = "robosuite"
_ASSET_FOLDER = PurePosixPath("models/assets")
# robosuite 1.5 renamed a folder; the meshes in it are those of 1.4, to the bit.
_RENAMED = {"mounts": "bases"}
_MAX_DEPTH = 100
# Elements that a picture is drawn from, and how many of each a model may have; robosuite's have a tenth of that.
_MOST = {
    **dict.fromkeys(("mujoco", "compiler", "option", "statistic", "visual", "default", "asset", "worldbody"), 100),
    **dict.fromkeys(("global", "quality", "headlight", "map", "scale", "rgba"), 100),
    **dict.fromkeys(("texture", "light", "camera"), 100),
    **dict.fromkeys(("joint", "freejoint", "material", "layer", "mesh"), 1000),
    **dict.fromkeys(("body", "frame", "inertial", "geom", "site"), 4000),
}
# Elements that move a model, measure it or reserve memory: neither pictures nor the length of a state follow from them.
_NOT_DRAWN = {
    *("size", "actuator", "sensor", "tendon", "equality", "contact", "keyframe", "custom", "flag", "lengthrange"),
    # Below <default>, where actuators and pairs are named one by one.
    *("pair", "motor", "general", "position", "velocity", "intvelocity", "damper", "cylinder", "muscle", "adhesion"),
}
_FILES = {
    "mesh": ("file",),
    "texture": ("file", "fileright", "fileleft", "fileup", "filedown", "filefront", "fileback"),
}
_FOLDERS = ("meshdir", "texturedir", "assetdir", "strippath")
# A mesh is read from a file or from its numbers in the XML; MuJoCo's generated ones can be of any size.
_REFUSED = {"mesh": ("builtin", "params", "needsdf", "octree_maxdepth", "plugin")}
# Whole numbers that ask for memory.
_LARGEST = {
    "quality": {"shadowsize": 1 << 14, "offsamples": 16, "numslices": 256, "numstacks": 256, "numquads": 256},
    "texture": {"width": 1 << 13, "height": 6 << 13, "nchannel": 4},
}
_OPTIONS = ("timestep",)
_MAX_BUILTIN_PIXELS = 1 << 23
_MAX_ASSET_BYTES = 1 << 28
_MAX_USES_OF_AN_ASSET = 16
_NAN = re.compile(r"[+-]?nan(\(.*)?", re.IGNORECASE)
_COUNT = re.compile(r"\s*[0-9]{1,9}\s*")


class StoredModel:
    """A model from XML, and the pictures of its states.

    Args:
        xml: The model, as a data set brings it.
        source: Where it comes from, for messages.
        image_sizes: (rows, columns) of each camera to draw.
        visual_meshes: Whether the geoms of robosuite's group 1 are drawn.
        collision_meshes: Whether those of group 0 are.

    Raises:
        UserError: If the XML is not a model of robosuite's, an asset is not here, or it has no such camera.
    """

    def __init__(
        self,
        xml: str,
        source: str,
        image_sizes: Mapping[str, tuple[int, int]],
        visual_meshes: bool = True,
        collision_meshes: bool = False,
    ) -> None:
        self._source = source
        self._model = compile_model(xml, source)
        self._data = mujoco.MjData(self._model)
        present = [self._model.camera(index).name for index in range(self._model.ncam)]
        if missing := [name for name in image_sizes if name not in present]:
            raise UserError(f"{source}: its model has no camera {missing[0]!r:.60}; it has {', '.join(present):.200}")
        options = mujoco.MjvOption()
        options.geomgroup[:2] = collision_meshes, visual_meshes
        self._renderers: list[tuple[tuple[str, ...], SceneRenderer]] = []
        for size in dict.fromkeys(image_sizes.values()):
            cameras = tuple(name for name, each in image_sizes.items() if each == size)
            renderer = SceneRenderer(self._model, self._data, cameras, parse_image_size(size), options)
            self._renderers.append((cameras, renderer))

    @property
    def timestep_s(self) -> float:
        """One physics step in seconds."""
        return float(self._model.opt.timestep)

    def show(self, state: np.ndarray, steps_ago: int = 0) -> dict[str, np.ndarray]:
        """Draws a state.

        Args:
            state: float64 (1 + nq + nv,): time, positions and velocities, as robosuite flattens them.
            steps_ago: 1 draws the positions one physics step earlier, which velocities tell to the bit.

        Returns:
            uint8 (H, W, 3) of each camera, upright.

        Raises:
            UserError: If the state is of another length.
        """
        nq, nv = self._model.nq, self._model.nv
        if state.shape != (1 + nq + nv,):
            raise UserError(
                f"{self._source}: its states have {state.size} numbers, its model 1 + {nq} + {nv} (time, positions, "
                "velocities): they do not belong together"
            )
        self._data.qpos[:], velocities = state[1 : 1 + nq], np.array(state[1 + nq :])
        if steps_ago:
            mujoco.mj_integratePos(self._model, self._data.qpos, velocities, -steps_ago * self.timestep_s)
        # All that a picture is drawn from; contacts and forces are not.
        for place in (mujoco.mj_kinematics, mujoco.mj_comPos, mujoco.mj_camlight):
            place(self._model, self._data)
        return {
            name: frame
            for cameras, renderer in self._renderers
            for name, frame in zip(cameras, renderer.render(), strict=True)
        }

    def close(self) -> None:
        """Releases the OpenGL contexts."""
        for _, renderer in self._renderers:
            renderer.close()


def compile_model(xml: str, source: str) -> mujoco.MjModel:
    """The model, as far as pictures are drawn from it.

    Args:
        xml: The model, as a data set brings it.
        source: Where it comes from, for messages.

    Raises:
        UserError: As :class:`StoredModel`, and if MuJoCo cannot build it.
    """
    drawn, assets = drawable(xml, source)
    try:
        return mujoco.MjModel.from_xml_string(drawn, assets)
    except (ValueError, RuntimeError, MemoryError, mujoco.FatalError) as error:
        raise UserError(
            f"{source}: MuJoCo {mujoco.__version__} cannot build its model ({' '.join(str(error).split()):.200}); "
            "another MuJoCo wrote it?"
        ) from error


def drawable(xml: str, source: str) -> tuple[str, dict[str, bytes]]:
    """A model reduced to what pictures are drawn from, without a path, and the assets that it names.

    Raises:
        UserError: If the XML is not a model of robosuite's, or an asset is not here.
    """
    root = _parse(xml, source)
    if root.tag != "mujoco":
        raise UserError(f"{source}: expected a model of MuJoCo, got <{root.tag:.60}>")
    _reduce(root)
    elements = list(root.iter())
    _require_known(elements, source)
    for element in elements:
        if element.tag == "compiler":
            _keep(element, *(name for name in element.attrib if name not in _FOLDERS))
        if element.tag == "option":
            _keep(element, *_OPTIONS)
    assets = _take_assets(elements, source)
    return ET.tostring(root, encoding="unicode"), assets


class _Builder(ET.TreeBuilder):
    """Builds a tree of limited depth without a document type, whose entities can grow without bound."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self._source, self._depth = source, 0

    def start(self, tag: str, attributes: dict[str, str], /) -> ET.Element:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise UserError(f"{self._source}: elements are nested more than {_MAX_DEPTH} deep")
        return super().start(tag, attributes)

    def end(self, tag: str, /) -> ET.Element:
        self._depth -= 1
        return super().end(tag)

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise UserError(f"{self._source}: a model of robosuite's has no document type, got one of {name!r:.60}")


def _parse(xml: str, source: str) -> ET.Element:
    parser = ET.XMLParser(target=_Builder(source))
    try:
        parser.feed(xml)
        return parser.close()
    except (ET.ParseError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{source} is not valid XML ({str(error)[:80]})") from error


def _reduce(root: ET.Element) -> None:
    """Drops elements that no picture is drawn from, with all that is in them."""
    for element in list(root.iter()):
        for child in [child for child in element if child.tag in _NOT_DRAWN]:
            element.remove(child)


def _require_known(elements: list[ET.Element], source: str) -> None:
    for tag, count in Counter(element.tag for element in elements).items():
        if tag not in _MOST:
            raise UserError(f"{source}: its model has <{tag:.60}>, which robosuite's models do not have")
        if count > _MOST[tag]:
            raise UserError(f"{source}: its model has {count} <{tag}>, at most {_MOST[tag]}")
    num_pixels = 0
    for element in elements:
        # MuJoCo would print a warning and write it into a log in the current directory.
        if any(_NAN.fullmatch(word) for value in element.attrib.values() for word in value.split()):
            raise UserError(f"{source}: a number of <{element.tag}> of its model is NaN")
        for name in _REFUSED.get(element.tag, ()):
            if name in element.attrib:
                raise UserError(f"{source}: its model has a <{element.tag}> with {name}, which robosuite's do not have")
        for name, largest in _LARGEST.get(element.tag, {}).items():
            text = element.get(name, "0")
            if not _COUNT.fullmatch(text) or int(text) > largest:
                raise UserError(f"{source}: expected {name} of <{element.tag}> in 0..{largest}, got {text!r:.60}")
        if element.tag == "texture":
            width = int(element.get("width", "0"))
            num_pixels += width * (int(element.get("height", "0")) if element.get("type") == "2d" else 6 * width)
    if num_pixels > _MAX_BUILTIN_PIXELS:
        raise UserError(f"{source}: its model's textures have {num_pixels} pixels, at most {_MAX_BUILTIN_PIXELS}")


def _keep(element: ET.Element, *names: str) -> None:
    for name in set(element.attrib) - set(names):
        del element.attrib[name]


def _take_assets(elements: list[ET.Element], source: str) -> dict[str, bytes]:
    """Replaces each path by a name, and reads what it stands for.

    Raises:
        UserError: For those that are not here: how many, and the first.
    """
    root = assets_folder()
    named: dict[str, str] = {}
    contents: dict[str, bytes] = {}
    missing: list[str] = []
    uses: Counter[str] = Counter()
    for element in elements:
        for attribute in _FILES.get(element.tag, ()):
            given = element.get(attribute)
            if not given:
                continue
            if given not in named:
                path = asset_path(given, root)
                if path is None:
                    missing.append(given)
                    continue
                named[given] = f"{len(named)}{path.suffix.lower()}"
                contents[named[given]] = path.read_bytes()
            uses[named[given]] += 1
            element.set(attribute, named[given])
    if missing:
        raise UserError(
            f"{source}: {len(missing)} of the meshes and textures of its model, {missing[0][-120:]!r} first, are not "
            f"among those of {ASSET_PACKAGE} {package_version()}: another version wrote it?"
        )
    num_bytes = sum(len(content) * uses[name] for name, content in contents.items())
    if num_bytes > _MAX_ASSET_BYTES or max(uses.values(), default=0) > _MAX_USES_OF_AN_ASSET:
        raise UserError(
            f"{source}: its model's meshes and textures are {num_bytes} bytes, one of them used "
            f"{max(uses.values())} times; expected at most {_MAX_ASSET_BYTES} and {_MAX_USES_OF_AN_ASSET}"
        )
    return contents


def asset_path(given: str, root: Path) -> Path | None:
    """Where a file that a model names is here; None if it is not.

    As in robosuite's ``edit_model_xml``, whatever follows the last folder named ``robosuite`` is looked for in the
    package's folder; here only below its ``models/assets``, links resolved.

    Args:
        given: The path on the machine that wrote the model.
        root: The folder of the assets.
    """
    parts = given.split("/")
    if ASSET_PACKAGE not in parts or "\0" in given:
        return None
    inside = parts[len(parts) - parts[::-1].index(ASSET_PACKAGE) :]
    if tuple(inside[:2]) != _ASSET_FOLDER.parts:
        return None
    first, *rest = inside[2:] or [""]
    for folder in (first, _RENAMED.get(first)):
        try:
            path = root.joinpath(folder, *rest).resolve() if folder else root
            if path.is_relative_to(root) and path.is_file():
                return path
        except OSError:  # a name that no file can have
            return None
    return None


def assets_folder() -> Path:
    """robosuite's assets; the package itself takes seconds to import, and is not.

    Raises:
        UserError: If it is not installed.
    """
    found = importlib.util.find_spec(ASSET_PACKAGE)
    if found is None or found.origin is None:
        raise UserError(f"the simulator is not installed (no {ASSET_PACKAGE}); run make setup")
    return (Path(found.origin).parent / _ASSET_FOLDER).resolve()


def package_version() -> str:
    """robosuite's version here."""
    return importlib.metadata.version(ASSET_PACKAGE)
