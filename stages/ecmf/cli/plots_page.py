"""Write the HTML template with which `dvc plots show` draws without the web.

DVC's own template loads Vega, Vega-Lite and Vega-Embed from a server; this one contains them, as
vl-convert bundles them. `make install` writes it and names it in `.dvc/config.local`.
"""

from pathlib import Path

import click
import vl_convert

from ecmf.cli.command import Command
from ecmf.storage.files import write_text

VEGA_LITE = "5.21"
"""DVC's charts are written for Vega-Lite 5."""

EXPOSE = "window.vegaEmbed = vegaEmbed;"
"""DVC's page calls this function once per chart."""

PAGE = """<!DOCTYPE html>
<html>
<head>
    <meta charset="utf-8">
    {refresh_tag}
    <title>DVC Plot</title>
    <script>(() => {BUNDLE})();</script>
    <style>
        body { font-family: sans-serif; }
        table { border-spacing: 15px; }
    </style>
</head>
<body>
    {plot_divs}
</body>
</html>
"""
"""`{refresh_tag}` and `{plot_divs}` are filled in by DVC."""


def make_page() -> str:
    """Build the template. The libraries are in a function, so that they define no global names."""
    bundle = vl_convert.javascript_bundle(EXPOSE, vl_version=VEGA_LITE)
    return PAGE.replace("{BUNDLE}", f"{{{bundle}\n}}")


@click.command(cls=Command)
@click.argument("page", type=click.Path(path_type=Path))
def command(page: Path) -> str:
    r"""Write the HTML template of `dvc plots show` to PAGE.

    \b
    Example:
      python -m ecmf.cli.plots_page .dvc/plots.html
      dvc config --local plots.html_template plots.html
    """
    write_text(page, make_page())
    return f"{page}: the template of `dvc plots show`, which needs no web"


if __name__ == "__main__":
    command()
