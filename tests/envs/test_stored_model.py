"""Models of others: nothing is read but robosuite's own meshes and textures, and nothing unknown reaches MuJoCo."""

import os

import mujoco
import pytest

from smidgen.envs.stored_model import asset_path, assets_folder, compile_model, drawable
from smidgen.runtime.errors import UserError
from tests.fuzz.model_readers import ASSETS, VALID

pytestmark = pytest.mark.simulator
TEXTURE = f'file="{ASSETS}/textures/light-gray-floor-tile.png"'


def test_a_model_of_another_machine_is_built_from_the_assets_here():
    model = compile_model(VALID, "theirs")
    assert (model.nq, model.nv, model.nu) == (8, 7, 0)
    assert [model.mesh(index).name for index in range(model.nmesh)] == ["finger", "wedge"]
    assert model.tex_width[model.texture("red").id] == 255


def test_no_path_reaches_mujoco():
    xml, assets = drawable(VALID, "theirs")
    assert "/" not in xml.replace("</", "").replace("/>", "")
    assert sorted(assets) == ["0.png", "1.stl"]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("/a/robosuite/models/assets/textures/can.png", "textures/can.png"),
        ("/a/robosuite/b/robosuite/models/assets/textures/can.png", "textures/can.png"),
        # robosuite 1.4 called the folder so; the mesh is the same.
        (
            "/a/robosuite/models/assets/mounts/meshes/rethink_mount/pedestal.stl",
            "bases/meshes/rethink_mount/pedestal.stl",
        ),
        ("/a/robosuite/models/assets/textures/none.png", None),
        ("/a/robosuite/models/assets/textures", None),
        ("/a/robosuite/models/assets", None),
        ("/a/robosuite/models/assets/../../__init__.py", None),
        ("/a/robosuite/models/assets//etc/passwd", None),
        ("/a/robosuite/__init__.py", None),
        ("/etc/passwd", None),
        ("textures/can.png", None),
        ("robosuite", None),
        ("/a/robosuite/models/assets/textures/can.png\0", None),
        ("/a/robosuite/models/assets/" + "a" * 5000, None),
    ],
)
def test_a_path_leads_into_the_folder_of_assets_or_nowhere(given, found):
    root = assets_folder()
    assert asset_path(given, root) == (root / found if found else None)


def test_a_link_out_of_the_folder_of_assets_leads_nowhere(tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "assets/link.png").symlink_to(tmp_path / "secret.png")
    assert asset_path("/a/robosuite/models/assets/link.png", tmp_path / "assets") is None


# A file that MuJoCo could read, were it given its name; whoever opens the pipe does not come back.
@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outside")
    (folder / "scene.xml").write_text("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
    assert mujoco.MjModel.from_xml_string(f"<mujoco><include file='{folder}/scene.xml'/></mujoco>").ngeom == 1
    os.mkfifo(folder / "pipe")
    return folder


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("<asset>", '<include file="{outside}/scene.xml"/><asset>', "<include>"),
        ("<asset>", '<include file="{outside}/pipe"/><asset>', "<include>"),
        ("<asset>", '<asset><model name="m" file="{outside}/scene.xml"/>', "<model>"),
        (TEXTURE, 'file="{outside}/pipe"', "pipe' first, are not among those of robosuite 1.5.2"),
        (TEXTURE, 'fileright="{outside}/pipe"', "pipe' first, are not among those"),
        ('meshdir="meshes/"', 'meshdir="{outside}" texturedir="{outside}" assetdir="{outside}"', ""),
        ("<asset>", "<extension><plugin plugin='mujoco.sdf.bolt'/></extension><asset>", "<extension>"),
        ("<asset>", "<asset><hfield name='h' nrow='99999' ncol='99999' size='1 1 1 1'/>", "<hfield>"),
        ("<body ", "<replicate count='999999999'><geom size='1'/></replicate><body ", "<replicate>"),
        ('builtin="checker" width="16" height="16"', 'builtin="flat" width="8192" height="8192"', "67115008 pixels"),
        ('shadowsize="1024"', 'shadowsize="1000000"', "expected shadowsize of <quality> in 0..16384"),
        ("<mujoco", '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><mujoco', "no document type"),
        ("<mujoco", "<a>" * 1000 + "<mujoco", "nested more than 100 deep"),
        ("</worldbody>", "<geom size='1'/>" * 4000 + "</worldbody>", "4005 <geom>, at most 4000"),
        (VALID, "<svg/>", "expected a model of MuJoCo, got <svg>"),
        (VALID, "", "is not valid XML"),
        ("<joint ", "<joint user='a' ", "cannot build its model"),
    ],
)
def test_hostile_models_end_in_one_line_and_read_nothing(old, new, words, outside):
    assert old in VALID
    xml = VALID.replace(old, new.format(outside=outside) if "outside" in new else new, 1)
    if not words:
        assert compile_model(xml, "theirs").ngeom == 4
        return
    with pytest.raises(UserError) as raised:
        compile_model(xml, "theirs")
    message = str(raised.value)
    assert words in message
    assert message.startswith("theirs")
    assert "\n" not in message
