"""The reader of MuJoCo models that imported data sets bring: XML that names files and could ask for any memory."""

from __future__ import annotations

import copy
import functools
import random
import xml.etree.ElementTree as ET
from pathlib import Path

import mujoco

from smidgen.envs.stored_model import compile_model
from smidgen.runtime.files import read_text
from tests.fuzz.hostile import NAMES, NUMBERS, TARGETS, TEXTS
from tests.fuzz.mutations import spoil_bytes, spoil_place
from tests.fuzz.reader import Case, Files, Reader

MODEL = "model.xml"
ASSETS = "/home/somebody/robosuite/models/assets"
VALID = f"""<mujoco model="table">
  <compiler angle="radian" meshdir="meshes/" autolimits="true"/>
  <option timestep="0.002" impratio="20" cone="elliptic"><flag warmstart="enable"/></option>
  <size njmax="5000" nconmax="5000"/>
  <visual><map znear="0.001"/><quality shadowsize="1024" offsamples="4"/></visual>
  <statistic extent="1" center="0 0 0"/>
  <default><default class="seen"><geom group="1" contype="0"/><motor ctrlrange="-1 1"/></default></default>
  <asset>
    <texture type="skybox" builtin="gradient" rgb1="0.9 0.9 1" rgb2="0.2 0.3 0.4" width="32" height="192"/>
    <texture type="cube" name="red" file="{ASSETS}/textures/light-gray-floor-tile.png"/>
    <texture type="2d" name="checks" builtin="checker" width="16" height="16"/>
    <material name="red" texture="red" texrepeat="3 3" specular="0.4"/>
    <mesh name="finger" file="{ASSETS}/grippers/meshes/panda_gripper/finger.stl" scale="1 1 1"/>
    <mesh name="wedge" vertex="0 0 0 1 0 0 0 1 0 0 0 1"/>
  </asset>
  <worldbody>
    <light pos="0 0 2" dir="0 0 -1"/>
    <camera name="agentview" pos="0 -1 1" xyaxes="1 0 0 0 0.7 0.7"/>
    <geom type="plane" size="1 1 0.1" class="seen"/>
    <body name="cube" pos="0 0 0.2">
      <freejoint name="free"/>
      <geom type="box" size="0.2 0.1 0.1" class="seen" material="red"/>
      <body name="arm" pos="0.1 0 0">
        <inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/>
        <joint name="elbow" type="hinge" axis="0 0 1" range="-1 1"/>
        <geom type="mesh" mesh="finger" class="seen"/>
        <geom type="mesh" mesh="wedge" quat="1 0 0 0"/>
        <site name="grip_site" size="0.01" rgba="0 0 1 0"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor name="drive" joint="elbow"/></actuator>
  <sensor><jointpos joint="elbow"/></sensor>
</mujoco>
"""
# What MuJoCo would read if it could. Whoever opens the first does not come to an end.
FILES = (
    *("/dev/zero", "/dev/zero.png", "zero.stl", *TARGETS),
    *(
        f"{ASSETS}/{way}"
        for way in ("../../../../../../../../dev/zero", "textures/../../__init__.py", "", ".", "none.png")
    ),
    *("/x/robosuite/models/../../../../../../dev/zero", "robosuite//dev/zero", "robosuite/models/assets//dev/zero"),
    *(
        "file:///dev/zero",
        "robosuite/macros.py",
        f"{ASSETS}/robots/panda/robot.xml",
        f"{ASSETS}/textures/light-gray-floor-tile.png\0",
    ),
)
# Elements that MuJoCo has and robosuite's models do not, and some that ask for memory.
ELEMENTS = (
    '<include file="/dev/zero"/>',
    '<asset><model name="m" file="/dev/zero"/></asset>',
    '<asset><hfield name="h" nrow="100000" ncol="100000" size="1 1 1 1"/></asset>',
    '<asset><hfield name="h" file="/dev/zero" size="1 1 1 1"/></asset>',
    '<asset><skin name="s" file="/dev/zero"/></asset>',
    '<asset><mesh name="m" builtin="sphere" params="12"/></asset>',
    '<asset><mesh name="m" file="/dev/zero"/></asset>',
    '<asset><texture name="t" fileright="/dev/zero" type="cube"/></asset>',
    '<asset><texture name="t" builtin="flat" width="8192" height="8192"/></asset>',
    '<extension><plugin plugin="mujoco.sdf.bolt"/></extension>',
    '<body><replicate count="1000000000" offset="0 0 1"><geom size="1"/></replicate></body>',
    '<body><composite type="cable" count="100000 1 1" size="1"/></body>',
    '<body><flexcomp name="f" type="grid" count="1000 1000 1000" spacing="1 1 1" mass="1"/></body>',
    '<body><flexcomp name="f" type="mesh" file="/dev/zero" mass="1"/></body>',
    '<attach model="m" body="b" prefix="p"/>',
    '<size memory="100G" nuserdata="1000000000" nkey="1000000"/>',
    '<custom><numeric name="n" size="1000000000"/></custom>',
    '<sensor><user name="u" dim="1000000000"/></sensor>',
    '<keyframe><key qpos="0"/></keyframe>',
    "<worldbody>" + "<body><joint/><geom size='1'/>" * 80 + "</body>" * 80 + "</worldbody>",
    "<worldbody>" + "<body>" * 200 + "</body>" * 200 + "</worldbody>",
    "<worldbody><body><geom size='1'/>" + "<joint/>" * 3000 + "</body></worldbody>",
    "<asset>" + f'<mesh file="{ASSETS}/grippers/meshes/panda_gripper/finger.stl"/>' * 20 + "</asset>",
)
PROLOGUES = (
    '<!DOCTYPE x [<!ENTITY a "'
    + "x" * 1000
    + '">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 100}">' for a, b in ("ab", "bc", "cd"))
    + "]>",
    '<!DOCTYPE mujoco SYSTEM "/dev/zero">',
    '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
    '<?xml version="1.0" encoding="utf-16"?>',
    "\ufeff",
    "<a>" * 100_000,
)


def _read(folder: Path, words: tuple[str, ...]) -> None:
    path = folder / MODEL
    mujoco.MjData(compile_model(read_text(path), str(path)))


@functools.cache
def _files() -> Files:
    return {MODEL: VALID.encode()}


def _spoil(rng: random.Random, valid: Files) -> Case:
    if rng.random() < 0.03:
        return Case({MODEL: spoil_place(rng)})
    if rng.random() < 0.2:
        return Case({MODEL: spoil_bytes(rng, valid[MODEL])})
    root = ET.fromstring(VALID)
    for _ in range(rng.choice((1, 1, 2, 3))):
        elements = [each for each in root.iter() if rng.random() < 0.7 or "file" in each.attrib] or [root]
        rng.choice(_EDITS)(rng, rng.choice(elements))
    text = ET.tostring(root, encoding="unicode")
    if rng.random() < 0.05:
        text = rng.choice(PROLOGUES) + text
    return Case({MODEL: text.encode("utf-8", "replace")})


def _value(rng: random.Random) -> str:
    number = str(rng.choice(NUMBERS))
    return rng.choice((rng.choice(FILES), rng.choice(TEXTS), number, f"{number} 0 {number}", "1 " * 10_000, ""))


def _alter(rng: random.Random, element: ET.Element) -> None:
    if element.attrib:
        name = rng.choice(sorted(element.attrib))
        element.set(name, rng.choice(FILES) if name.startswith("file") else _value(rng))


def _give(rng: random.Random, element: ET.Element) -> None:
    names = ("file", "fileright", "meshdir", "assetdir", "builtin", "plugin", "content_type", "width", "height", "type")
    element.set(
        rng.choice((*names, "nchannel", "numslices", "maxhullvert", "scale", "user", "class", "fovy")), _value(rng)
    )


def _misplace(rng: random.Random, element: ET.Element) -> None:
    for each in (element, *element.iter("mesh"), *element.iter("texture")):
        each.set("file", rng.choice(FILES))


def _take(rng: random.Random, element: ET.Element) -> None:
    if element.attrib:
        del element.attrib[rng.choice(sorted(element.attrib))]


def _insert(rng: random.Random, element: ET.Element) -> None:
    element.insert(rng.randrange(len(element) + 1), ET.fromstring(rng.choice(ELEMENTS)))


def _drop(rng: random.Random, element: ET.Element) -> None:
    if len(element):
        element.remove(rng.choice(list(element)))


def _repeat(rng: random.Random, element: ET.Element) -> None:
    if len(element):
        child = rng.choice(list(element))
        element.extend(copy.deepcopy(child) for _ in range(rng.choice((1, 20, 2000))))


def _nest(rng: random.Random, element: ET.Element) -> None:
    inner = copy.deepcopy(element)
    for _ in range(rng.choice((1, 5))):
        element.append(inner)
        element, inner = inner, copy.deepcopy(inner)


def _rename(rng: random.Random, element: ET.Element) -> None:
    tags = ("include", "plugin", "frame", "hfield", "replicate", "composite", "skin", "mesh", "texture", "body", "x")
    element.tag = rng.choice((*tags, *(name for name in NAMES if name.isalnum())))


_EDITS = (
    _alter,
    _alter,
    _alter,
    _misplace,
    _misplace,
    _give,
    _give,
    _take,
    _insert,
    _insert,
    _drop,
    _repeat,
    _nest,
    _rename,
)

MODEL_READERS: dict[str, Reader] = {"model file": Reader(_files, _spoil, _read)}
