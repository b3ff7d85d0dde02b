"""Render the page from its templates."""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render_page(content: Mapping[str, Any]) -> str:
    """Render `templates/report.html` with the values that it names.

    The Content-Security-Policy forbids every request, and every script and style but those of the
    page, which it names by their SHA-256. Values are escaped.
    """
    loader = PackageLoader("ecmf.reporting")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    style, script = (
        loader.get_source(environment, name)[0].strip() for name in ("report.css", "report.js")
    )
    page = environment.get_template("report.html").render(
        content,
        style=style,
        script=script,
        style_hash=_source_hash(style),
        script_hash=_source_hash(script),
    )
    return f"{page}\n"


def _source_hash(source: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"
