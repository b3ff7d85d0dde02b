"""`dvc plots show` draws every plot of dvc.yaml without the web."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import vl_convert
import yaml
from click.testing import CliRunner

from ecmf.cli import plots_page

ROOT = Path(__file__).resolve().parents[2]
PLOTS = yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]
TITLES = [title for plot in PLOTS for title in plot]
CURVES = "epoch,train_loss,validation_score,runs\n1,2.0,0.25,1\n2,1.5,0.5,1\n"
CONFUSION = "actual,predicted\nhappy,happy\nhappy,sad\nsad,sad\n"


class Addresses(HTMLParser):
    """Collect the addresses a browser would load."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href", "data", "srcset")]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A DVC project with the plots of this one, made as `make install` makes it."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"plots": PLOTS}))
    (folder / "metrics").mkdir()
    (folder / "metrics/training_curves.csv").write_text(CURVES)
    (folder / "metrics/confusion.csv").write_text(CONFUSION)
    dvc(folder, "init", "--quiet", "--no-scm")
    dvc(folder, "config", "core.analytics", "false")
    return folder


@pytest.fixture(scope="module")
def page(project):
    template = project / ".dvc/plots.html"
    done = CliRunner().invoke(plots_page.command, [str(template)], catch_exceptions=False)
    assert done.exit_code == 0
    dvc(project, "config", "--local", "plots.html_template", "plots.html")
    dvc(project, "plots", "show", "--quiet")
    return (project / "dvc_plots/index.html").read_text(encoding="utf-8")


def dvc(folder, *arguments):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["dvc", *arguments], cwd=folder, env={**os.environ, "PATH": path},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def charts(page):
    return [json.loads(found) for found in re.findall(r"var spec = (\{.*\});\n", page)]


def test_the_page_loads_nothing(page):
    addresses = Addresses()
    addresses.feed(page)
    assert addresses.found == []
    assert "@import" not in page and "cdn." not in page


def test_the_page_defines_the_function_that_draws_and_leaves_nothing_to_fill_in(page):
    assert "window.vegaEmbed=" in page
    for placeholder in ("{plot_divs}", "{refresh_tag}", "{scripts}", "{BUNDLE}"):
        assert placeholder not in page
    assert page.count("<script") == page.count("</script>") == 1 + len(TITLES)


def test_every_plot_is_shown_once_with_its_values(page):
    assert [chart["title"]["text"] for chart in charts(page)] == TITLES
    assert TITLES == ["Confusion of the test clips", "Training loss", "Validation score"]
    for chart in charts(page):
        assert len(chart["data"]["values"]) in (2, 3)


def test_the_bundled_vega_lite_draws_every_plot(page):
    drawn = [
        vl_convert.vegalite_to_svg(chart, vl_version=plots_page.VEGA_LITE, allowed_base_urls=[])
        for chart in charts(page)
    ]
    for word, picture in zip(("happy", "epoch", "epoch"), drawn, strict=True):
        assert word in picture and "<path" in picture


def test_the_committed_configuration_names_no_page_since_dvc_stops_without_it():
    assert "html_template" not in (ROOT / ".dvc/config").read_text()
    assert "/plots.html" in (ROOT / ".dvc/.gitignore").read_text().split()
    assert "dvc config --local plots.html_template" in (ROOT / "Makefile").read_text()
