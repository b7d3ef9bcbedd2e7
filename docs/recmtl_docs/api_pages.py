"""The pages of the API reference: one a folder of the package, every module of it in turn."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

__all__ = ["public_modules", "write"]

HEAD = """# API reference

What most people need is on [one page](../python.md): the functions and objects of `import recmtl`.
The pages below hold every public name of the package, folder by folder, from the top down: a folder
imports only from those below it ([architecture](../../architecture.md)).

| folder | owns |
|---|---|
"""
SINGLE = "modules"
"""The page of modules that lie in no folder: errors, paths, files that are whole or absent."""


def write(root: Path) -> None:
    """Write the pages into `docs/reference/api`, leaving those that are the same as they are."""
    folder = root / "docs" / "reference" / "api"
    folder.mkdir(parents=True, exist_ok=True)
    rooms: dict[str, list[str]] = {}
    for module in public_modules(root):
        parts = module.split(".")
        is_folder = (root / "recmtl" / parts[1]).is_dir() if len(parts) > 1 else False
        rooms.setdefault(parts[1] if is_folder else SINGLE, []).append(module)
    order = [*_layers(root), SINGLE]
    names = sorted(rooms, key=lambda room: order.index(room) if room in order else -1)
    pages = {room: "\n".join(_page(root, room, rooms[room])) for room in names}
    toc = "\n".join(["", "```{toctree}", ":hidden:", "", *names, "```", ""])
    lines = [f"| [`recmtl.{room}`]({room}.md) | {_first_line(root, room)} |" for room in names]
    pages["index"] = HEAD + "\n".join(lines) + "\n" + toc
    for stale in set(folder.glob("*.md")) - {folder / f"{name}.md" for name in pages}:
        stale.unlink()
    for name, text in pages.items():
        file = folder / f"{name}.md"
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def public_modules(root: Path) -> list[str]:
    """Every module of the package without an underscore, by dotted name."""
    modules = []
    for path in sorted((root / "recmtl").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if parts != ("recmtl",) and not any(part.startswith("_") for part in parts):
            modules.append(".".join(parts))
    return modules


def _page(root: Path, room: str, modules: list[str]) -> Iterator[str]:
    title = "Single modules" if room == SINGLE else f"recmtl.{room}"
    yield from (f"# {title}", "")
    for module in modules:
        face = root.joinpath(*module.split("."), "__init__.py")
        if module != f"recmtl.{room}":
            yield from (f"## {module}", "")
        yield from ("```{eval-rst}", f".. automodule:: {module}")
        yield from (["   :no-members:", "```", ""] if face.exists() else ["```", ""])
        if face.exists():
            yield from _face(root, module)


def _face(root: Path, package: str) -> Iterator[str]:
    """The names that a package hands on from its modules, each with a link."""
    homes = _homes(root, package)
    if homes:
        links = [f"{{py:obj}}`{name} <{home}>`" for name, home in sorted(homes.items())]
        yield from (f"Names of `{package}`: " + " · ".join(links), "")


def _homes(root: Path, package: str) -> dict[str, str]:
    """Name -> where it is defined, of the imports in a package's `__init__`."""
    face = root.joinpath(*package.split("."), "__init__.py")
    homes = {}
    for node in ast.parse(face.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("recmtl"):
            inner = root.joinpath(*node.module.split("."), "__init__.py")
            further = _homes(root, node.module) if inner.exists() else {}
            for alias in node.names:
                home = further.get(alias.name, f"{node.module}.{alias.name}")
                homes[alias.asname or alias.name] = home
    return homes


def _layers(root: Path) -> list[str]:
    """The folders from the top down, as the import contract orders them."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    return [name.strip() for layer in layers for name in layer.replace(":", "|").split("|")]


def _first_line(root: Path, room: str) -> str:
    """The first line of a folder's docstring."""
    if room == SINGLE:
        return "Errors, paths, locks, files that are whole or absent"
    face = root / "recmtl" / room / "__init__.py"
    docstring = ast.get_docstring(ast.parse(face.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]
