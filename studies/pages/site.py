"""Hooks of MkDocs for ``make site``: pages that are made of other files, and links to files outside ``docs/``.

The README is the site's first page. The board is computed from the records, the command reference from each command's
``--help``. A document may link to any file of the repository: that file gets a page of its own below ``source/``.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import posixpath
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
INDEX, BOARD, COMMANDS = "index.md", "board.md", "commands.md"
HOME, DOCS, SOURCE = "README.md", "docs/", "source/"
PACKAGE_LINKS = "build/site-package"
BOARD_PAGE = "leaderboard-page.html"
# A Markdown link or image: its text, its target without the anchor, and the anchor.
LINK = re.compile(r"(\]\()([^)\s#]*)(#[^)\s]*)?(?=\))")
ROLE = re.compile(r":(?:class|func|meth|data|attr|mod):(?=<code>)")
BOARD_TABLES = re.compile(r"<!-- leaderboard:begin -->.*<!-- leaderboard:end -->", re.DOTALL)
LANGUAGES = {".py": "python", ".json": "json", ".csv": "text", ".toml": "toml", ".sh": "bash", ".txt": "text"}
PICTURES = (".png", ".gif", ".mp4")
MAX_SHOWN_CHARACTERS = 100_000
# Module that holds each command's main(), and its verbs that have a --help of their own.
PROGRAMS = {
    "collect": ("smidgen.data_collection.collect", ()),
    "data": ("smidgen.data_collection.data", ("verify", "replay", "preview", "datasheet", "export", "import")),
    "train": ("smidgen.training.train", ()),
    "eval": ("smidgen.evaluation.evaluate", ("verify", "saliency")),
    "check": ("smidgen.evaluation.check.command", ("compare", "rank", "control")),
    "leaderboard": ("smidgen.leaderboard.command", ("submit", "upload")),
    "suite": ("smidgen.experiments.suite", ()),
    "doctor": ("smidgen.envs.doctor", ()),
}


def on_startup(**_: object) -> None:
    """Lays out the folders like the installed package, for the reader of docstrings."""
    layout = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-dir"]
    package = ROOT / PACKAGE_LINKS / "smidgen"
    shutil.rmtree(package, ignore_errors=True)
    for name, folder in layout.items():
        for module in (ROOT / folder).glob("*.py"):
            link = ROOT / PACKAGE_LINKS / name.replace(".", "/") / module.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(module)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are not in ``docs/``."""
    added = {
        INDEX: (ROOT / HOME).read_text(encoding="utf-8"),
        BOARD: board_text((ROOT / HOME).read_text(encoding="utf-8")),
        COMMANDS: commands_text(),
    }
    documents = {file.src_uri: Path(config.docs_dir, file.src_uri).read_text() for file in files.documentation_pages()}
    waiting, pictures = [*documents.items(), *added.items()], dict[str, str]()
    while waiting:
        page, text = waiting.pop()
        for target in {target for _, target, _ in LINK.findall(text) if target}:
            path = target_path(page, target)
            if path is None or not (uri := page_uri(path)).startswith(SOURCE) or uri in added:
                continue
            if uri.endswith(PICTURES):
                pictures[uri] = str(ROOT / path)
            else:
                added[uri] = source_text(path)
                waiting.append((uri, added[uri]))
    for uri, text in added.items():
        files.append(File.generated(config, uri, content=text))
    for uri, file in pictures.items():
        files.append(File.generated(config, uri, abs_src_path=file))
    files.append(File.generated(config, BOARD_PAGE, content=board_page()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Points links between files of the repository at the site's pages."""
    uri = page.file.src_uri

    def moved(match: re.Match[str]) -> str:
        opening, target, anchor = match.groups()
        path = target_path(uri, target) if target else None
        if path is None:
            return match.group()
        return f"{opening}{posixpath.relpath(page_uri(path), posixpath.dirname(uri) or '.')}{anchor or ''}"

    return LINK.sub(moved, markdown)


def on_page_content(html: str, **_: object) -> str:
    """Takes off Sphinx's roles, which docstrings have and Markdown does not."""
    return ROLE.sub("", html)


def repository_path(uri: str) -> str:
    """The file of the repository that a page of the site is made of."""
    if uri == INDEX:
        return HOME
    if uri.startswith(SOURCE):
        return uri.removeprefix(SOURCE)
    return DOCS + uri


def target_path(uri: str, target: str) -> str | None:
    """The file or folder of the repository that a page's link leads to; None for a link to elsewhere."""
    if "://" in target or target.startswith(("mailto:", "/")) or target == BOARD_PAGE:
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(repository_path(uri)), target))
    return path if (ROOT / path).exists() else None


def page_uri(path: str) -> str:
    """The page or file of the site for a file or folder of the repository."""
    if path == HOME:
        return INDEX
    if path.startswith(DOCS):
        return path.removeprefix(DOCS)
    return SOURCE + (path if path.endswith((".md", *PICTURES)) else f"{path}.md")


def source_text(path: str) -> str:
    """A page that shows a file, or lists a folder."""
    file = ROOT / path
    if file.is_dir():
        names = sorted(f"{child.name}{'/' * child.is_dir()}" for child in file.iterdir() if is_shown(child))
        return f"# {path}/\n\nA folder of the repository:\n\n" + "\n".join(f"- `{name}`" for name in names) + "\n"
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        return text
    shown = text[:MAX_SHOWN_CHARACTERS]
    cut = "" if shown == text else f"\n\nThe first {MAX_SHOWN_CHARACTERS:,} of {len(text):,} characters.\n"
    return f"# {path}\n\n````` {{.{LANGUAGES.get(file.suffix, 'text')}}}\n{shown}\n`````\n{cut}"


def is_shown(path: Path) -> bool:
    """Whether a folder's page lists this entry."""
    return not path.name.startswith((".", "__pycache__"))


def board_text(readme: str) -> str:
    """The page of results: the README's board, and the way to the page with curves and videos."""
    tables = BOARD_TABLES.search(readme)
    assert tables, f"no board in {HOME}"
    intro = f"[The whole page: every measure, curves and videos]({BOARD_PAGE}){{.md-button}}"
    return f"# Leaderboard\n\n{intro}\n\n{tables.group()}\n"


def board_page() -> str:
    """The leaderboard's self-contained page, from the committed records."""
    from smidgen.leaderboard.outputs import LeaderboardConfig, page_outputs
    from smidgen.leaderboard.ranking import rank_runs, read_runs

    records = str(ROOT / "results" / "cpu-standard-1")
    (page,) = page_outputs(LeaderboardConfig(results=records), rank_runs(read_runs(records))).values()
    return page.decode() if isinstance(page, bytes) else page


def commands_text() -> str:
    """A page of what every command's ``--help`` says."""
    parts = ["# Commands", "What `--help` says. Every command also has `--version`."]
    for name, (module, verbs) in PROGRAMS.items():
        parts.append(f"## smidgen-{name}")
        parts.append(help_block(name, module, []))
        for verb in verbs:
            parts += [f"### smidgen-{name} {verb}", help_block(name, module, [verb])]
    return "\n\n".join(parts) + "\n"


def help_block(name: str, module: str, words: list[str]) -> str:
    """What a command says to ``--help``, as a block."""
    said = io.StringIO()
    line = called_as(f"smidgen-{name}", [*words, "--help"])
    with line, contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        importlib.import_module(module).main()
    return f"```text\n{said.getvalue().strip()}\n```"


@contextlib.contextmanager
def called_as(program: str, arguments: list[str]) -> Iterator[None]:
    """As if this process had been started with a command line, on a terminal of 100 columns."""
    with mock.patch.object(sys, "argv", [program, *arguments]), mock.patch.dict("os.environ", COLUMNS="100"):
        yield
