"""The docs' paragraph on a mistake, as HTML, so that a page has it without a network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import npmlp


def paragraph(link: str) -> Any:
    """What docs/mistakes.md says under a heading, as safe HTML; "" where the docs are not at hand.

    Parameters: `link`, such as docs/mistakes.md#zero-init.
    """
    name, _, anchor = link.partition("#")
    path = Path(npmlp.__file__).parent.parent / name  # in a clone; a wheel has no docs
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(
        rf"^(#+) +`?{re.escape(anchor)}`?\s*$\n(.*?)(?=^#{(2,)} |\Z)", text, re.M | re.S
    )
    return "" if found is None else safe_html(found[2])


def safe_html(text: str) -> Any:
    """Markdown as HTML, without its links and with any HTML in it shown as text."""
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    markdown = MarkdownIt("commonmark", {"html": False})
    markdown.add_render_rule("link_open", _nothing)  # they lead to files beside the docs
    markdown.add_render_rule("link_close", _nothing)
    return Markup(markdown.render(text))


def _nothing(*_: Any) -> str:
    return ""
