"""The build: setuptools, and after it archives whose bytes depend on the sources alone.

Setuptools keeps each file's mode and time, and in a source archive its owner; so umask, checkout and user would show.
Here every member of the wheel and of the source archive is written again: sorted, one time, two modes, no owner. The
time is ``SOURCE_DATE_EPOCH`` where that is set.
"""

import gzip
import io
import os
import tarfile
import time
import zipfile
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import (
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]
# The oldest time that a zip file can hold is 1980-01-01; a day later it is still 1980 in every time zone.
DEFAULT_EPOCH = 315_619_200
FILE_MODE, DIRECTORY_MODE = 0o644, 0o755


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """Build a wheel; the same sources give the same bytes."""
    name = build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
    normalise_wheel(Path(wheel_directory, name))
    return name


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """Build an editable wheel, which names the checkout and so cannot be the same elsewhere."""
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)


def build_sdist(sdist_directory, config_settings=None):
    """Build a source archive; the same sources give the same bytes."""
    name = build_meta.build_sdist(sdist_directory, config_settings)
    normalise_sdist(Path(sdist_directory, name))
    return name


def epoch():
    """Seconds since 1970 that every member is dated with."""
    return max(DEFAULT_EPOCH, int(os.environ.get("SOURCE_DATE_EPOCH", DEFAULT_EPOCH)))


def normalise_wheel(path):
    """Write a wheel again: members sorted (those of .dist-info last, as the format asks), one time, one mode."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    date = time.gmtime(epoch())[:6]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(members, key=lambda name: (".dist-info/" in name, name)):
            member = zipfile.ZipInfo(name, date)
            member.create_system, member.external_attr = 3, (0o100000 | FILE_MODE) << 16
            archive.writestr(member, members[name], zipfile.ZIP_DEFLATED, compresslevel=9)


def normalise_sdist(path):
    """Write a source archive again: members sorted, one time, two modes, no owner, and no name or time of the gzip."""
    content = io.BytesIO()
    with tarfile.open(path) as archive, tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as written:
        for old in sorted(archive.getmembers(), key=lambda member: member.name):
            member = tarfile.TarInfo(old.name)
            member.type, member.size, member.mtime = old.type, old.size, epoch()
            member.mode = DIRECTORY_MODE if old.isdir() else FILE_MODE
            written.addfile(member, archive.extractfile(old) if old.isfile() else None)
    with open(path, "wb") as file, gzip.GzipFile("", "wb", compresslevel=9, fileobj=file, mtime=epoch()) as packed:
        packed.write(content.getvalue())
