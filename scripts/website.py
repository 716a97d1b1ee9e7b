"""What MkDocs calls while it builds the website: pages from the code, links into the repository, drawings."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import reference
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).parents[1]
ROOT_PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")
DRAWING = re.compile(r'<img alt="([^"]*)" src="(?:\.\./)*images/([\w-]+\.svg)"[^>]*>')


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put every page of docs/decisions into the navigation."""
    for entry in config.nav or ():
        for section in entry.values() if isinstance(entry, dict) else ():
            for item in section if isinstance(section, list) else ():
                if isinstance(item, dict) and item.get("Decisions") == "decisions":
                    found = sorted((Path(config.docs_dir) / "decisions").glob("*.md"))
                    item["Decisions"] = [f"decisions/{path.name}" for path in found]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are written from the code, and those that lie at the root of the repository."""
    try:
        pages = reference.pages()
    except ValueError as error:
        raise PluginError(str(error)) from None
    pages |= {page: (REPOSITORY / name).read_text(encoding="utf-8") for name, page in ROOT_PAGES.items()}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Point links to files of the repository to the pages that show them; what no page shows loses its link."""
    here = page.file.src_uri
    if here == "index.md":
        page.meta["hide"] = ["navigation", "toc"]  # the drawing wants the width
    where = {shown: name for name, shown in ROOT_PAGES.items()}.get(here, f"docs/{here}")

    def replaced(match: re.Match[str]) -> str:
        text, target, anchor = match.group(1), match.group(2), match.group(3) or ""
        if "://" in target or target.startswith("mailto:"):
            return match.group(0)
        file = posixpath.normpath(posixpath.join(posixpath.dirname(where), target))
        if file.startswith("docs/"):
            shown = file.removeprefix("docs/")
        elif file in ROOT_PAGES:
            shown = ROOT_PAGES[file]
        elif re.fullmatch(r"configs/.*\.yaml", file) and (REPOSITORY / file).exists():
            shown, anchor = "reference/examples.md", f"#{reference.example_anchor(file)}"
        elif (REPOSITORY / file).exists():
            return text if text.startswith("`") or " " in text else f"`{file}`"
        else:
            return match.group(0)  # MkDocs says what is wrong with it
        return f"[{text}]({posixpath.relpath(shown, posixpath.dirname(here) or '.')}{anchor})"

    parts = re.split(r"(^```.*?^```\s*?$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else LINK.sub(replaced, part) for part in parts)


def on_page_content(html: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Put drawings into the page itself, where they take its colours; a narrow one beside it is for small screens."""

    def drawn(match: re.Match[str]) -> str:
        name = match.group(2)
        folder = Path(config.docs_dir) / "images"
        narrow = folder / name.replace(".svg", "-narrow.svg")
        drawings = [("wide" if narrow.exists() else "", folder / name), ("narrow", narrow)]
        texts = [(kind, path.read_text(encoding="utf-8")) for kind, path in drawings if path.exists()]
        label = f'role="img" aria-label="{match.group(1)}"'
        return "".join(
            text.replace('<svg class="ov"', f'<svg class="ov drawing {kind}" {label}', 1) for kind, text in texts
        )

    return DRAWING.sub(drawn, html)
