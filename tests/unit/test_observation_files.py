"""Do alert rules and dashboards ask for figures that exist, and fire when they should?"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Histogram
from prometheus_client.metrics import MetricWrapperBase

from deploy.observation import dashboards, look
from deploy.observation.paths import DASHBOARDS
from gateway import backlog, observation
from gateway.followups import observation as followups_observation
from skyrelay.stage import observation as stage_observation
from skyrelay.stages import SERVICES
from skyrelay.store import figures as store_figures
from tests.support.manifests import of_kind, rendered

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/observation"

#: Where the pages of the alerts are: as Prometheus is told, or else in this repository.
RUNBOOKS = '{{ or $externalLabels.runbooks "docs/operations/alerts" }}'

#: What a histogram and a counter are asked by.
SUFFIXES = ("_bucket", "_count", "_sum", "_total")


def promtool(*arguments: str, text: str | None = None) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.fail(
            "promtool is not installed: `make setup-dev` brings Debian's package prometheus"
        )
    answer = subprocess.run(
        [program, *arguments], cwd=FOLDER, input=text, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def alerts() -> list[dict[str, Any]]:
    content = yaml.safe_load((FOLDER / "alerts.yml").read_text())
    found: list[dict[str, Any]] = [rule for group in content["groups"] for rule in group["rules"]]
    return found


def queries() -> list[str]:
    return [
        query.replace("$stage", ".+")
        for _, _, panels in dashboards.ALL
        for panel in panels
        for query in panel.queries.values()
    ]


def counted() -> list[MetricWrapperBase]:
    modules = (observation, followups_observation, stage_observation, store_figures)
    found = [figure for module in modules for figure in vars(module).values()]
    return [figure for figure in found if isinstance(figure, MetricWrapperBase)]


def known_figures() -> set[str]:
    """What our processes tell, by the names under which Prometheus keeps it."""
    described = {metric.name for figure in counted() for metric in figure.describe()}
    source = Path(backlog.__file__).read_text()
    looked_up = re.findall(r'"(skyrelay_\w+)"', source)
    assert described and looked_up
    return described | set(looked_up)


def test_the_alert_rules_fire_when_they_should_and_only_then() -> None:
    promtool("check", "rules", "alerts.yml")
    promtool("test", "rules", "alerts_test.yml")


def test_every_alert_is_tried() -> None:
    tried = (FOLDER / "alerts_test.yml").read_text()
    for alert in alerts():
        assert f"alertname: {alert['alert']}\n" in tried


def test_every_alert_has_a_page_that_says_what_to_do() -> None:
    folder = ROOT / "docs/operations/alerts"
    pages = {alert["alert"]: alert["annotations"]["runbook_url"] for alert in alerts()}
    for name, url in pages.items():
        base, _, file = url.rpartition("/")
        assert base == RUNBOOKS
        page = (folder / file).read_text()
        assert page.startswith(f"# {name}\n")
        assert "\n## Look\n" in page and "\n## Do\n" in page
    assert {url.rpartition("/")[2] for url in pages.values()} == {
        path.name for path in folder.glob("*.md")
    }


def test_the_pages_ask_kubernetes_for_our_namespace() -> None:
    for page in (ROOT / "docs/operations/alerts").glob("*.md"):
        for command in re.findall(r"`kubectl ([^`]*)`", page.read_text()):
            assert command.startswith(("-n skyrelay ", "apply -k")), page


def test_every_question_can_be_asked(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{n}", "expr": query} for n, query in enumerate(queries())]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", str(path))


def test_every_figure_that_is_asked_for_is_told_by_some_process() -> None:
    known = known_figures()
    asked = [*queries(), *(alert["expr"] for alert in alerts())]
    for name in {name for text in asked for name in re.findall(r"\bskyrelay_\w+", text)}:
        assert {name, *(name.removesuffix(suffix) for suffix in SUFFIXES)} & known, name


def test_every_bound_that_is_asked_for_is_one_of_its_figure() -> None:
    figures = {metric.name: figure for figure in counted() for metric in figure.describe()}
    asked = re.findall(
        r'(\w+)_bucket{[^}]*\ble="([\d.]+)"', "".join(alert["expr"] for alert in alerts())
    )
    assert asked
    for name, bound in asked:
        figure = figures[name]
        assert isinstance(figure, Histogram)
        assert bound in {str(float(each)) for each in figure._kwargs["buckets"]}


def test_what_is_made_of_the_dashboards_and_rules_is_up_to_date() -> None:
    for path, content in dashboards.files().items():
        assert path.read_text() == content, f"{path}: run `make docs`"
    for path in DASHBOARDS.glob("*.json"):
        assert json.loads(path.read_text())["uid"] == f"skyrelay-{path.stem}"


def test_the_dashboards_are_made_for_the_grafana_that_shows_them() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    described = version("grafana-foundation-sdk").rpartition("!")[2]
    assert compose["services"]["grafana"]["image"] == f"grafana/grafana:{described}"


def test_prometheus_looks_for_every_stage_service() -> None:
    content = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    names = {
        name
        for job in content["scrape_configs"]
        for source in job.get("dns_sd_configs", ())
        for name in source["names"]
    }
    assert set(SERVICES) <= names


def test_who_looks_at_a_prometheus_expects_all_without_whom_nothing_works() -> None:
    """Stages may be scaled to zero, the others must be there."""
    (missing,) = [each["expr"] for each in alerts() if each["alert"] == "SkyrelayProcessMissing"]
    assert look.jobs() == {*SERVICES, *re.findall(r'job="([\w-]+)"', missing)}


def test_every_process_that_prometheus_looks_for_is_missed_when_it_is_down() -> None:
    """In Compose and in Kubernetes alike: the alert asks for the label that both set."""
    ours = {"target_label": "system", "replacement": "skyrelay"}
    for job in yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]:
        labels = [source.get("labels") for source in job.get("static_configs", ())]
        assert ours in job.get("relabel_configs", ()) or labels == [{"system": "skyrelay"}]
    monitors = of_kind(rendered("production"), "PodMonitor")
    for monitor in monitors.values():
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            assert {"targetLabel": "system", "replacement": "skyrelay"} in endpoint["relabelings"]


def test_a_pod_that_is_only_starting_is_not_down() -> None:
    """While its image is loaded it has an address already, at which nobody answers."""
    runs = {
        "sourceLabels": ["__meta_kubernetes_pod_phase"],
        "regex": "Running",
        "action": "keep",
    }
    for monitor in of_kind(rendered("production"), "PodMonitor").values():
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            assert runs in endpoint["relabelings"]


def test_of_figures_that_others_tell_too_only_ours_are_asked_for() -> None:
    for expr in (alert["expr"] for alert in alerts()):
        for name, labels in re.findall(r"(\w*){([^}]*)}", expr):
            if not name.startswith("skyrelay_"):
                assert 'system="skyrelay"' in labels or 'namespace="skyrelay"' in labels, expr


def test_labels_are_few() -> None:
    """Each multiplies the series that Prometheus keeps."""
    assert max(len(figure._labelnames) for figure in counted()) <= 2
