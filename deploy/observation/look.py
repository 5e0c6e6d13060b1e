"""Does a Prometheus that runs have what dashboards and alerts ask for?

``python -m deploy.observation.look http://127.0.0.1:9090`` asks it everything that Grafana would:
the targets, the rules, each question of each dashboard as it is written in the files. The exit
code is 0 if every target answers, every service is a target, every rule was evaluated and every
question is understood. A question without an answer is no fault: where nothing waits, nothing is
told of it; but after some runs most of them have one.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import click
import requests
import yaml

from deploy.observation.paths import ALERTS, DASHBOARDS, HERE

#: What Grafana puts for the variable of the stages when all are chosen.
_ALL = ".+"


class Prometheus:
    """One server, by its HTTP interface."""

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")
        self._session = requests.Session()
        # What runs on this machine is not reached through a proxy.
        self._session.trust_env = False

    def get(self, path: str, **parameters: str) -> Any:
        """The ``data`` of an answer; RuntimeError with the server's reason if it gives none."""
        answer = self._session.get(f"{self._address}/api/v1/{path}", params=parameters, timeout=30)
        content = answer.json()
        if content["status"] != "success":
            raise RuntimeError(content["error"])
        return content["data"]


def targets(prometheus: Prometheus) -> Iterator[str]:
    """What is wrong with whom it asks; prints how many answer."""
    found = prometheus.get("targets", state="active")["activeTargets"]
    up = Counter(target["labels"]["job"] for target in found if target["health"] == "up")
    print("targets up:", ", ".join(f"{count} {job}" for job, count in sorted(up.items())))
    for target in found:
        if target["health"] != "up":
            yield f"{target['scrapeUrl']} is {target['health']}: {target['lastError']}"
    for job in sorted(jobs() - up.keys()):
        yield f"no target of {job} is up"


def jobs() -> set[str]:
    """What our Prometheus calls those whom it asks: the service, where it looks for one."""
    found = set()
    for job in yaml.safe_load((HERE / "prometheus.yml").read_text())["scrape_configs"]:
        names = [name for source in job.get("dns_sd_configs", ()) for name in source["names"]]
        found.update(names or [job["job_name"]])
    return found


def rules(prometheus: Prometheus) -> Iterator[str]:
    """What is wrong with the alert rules; prints which of them hold, but for the heartbeat."""
    found = {
        rule["name"]: rule
        for group in prometheus.get("rules", type="alert")["groups"]
        for rule in group["rules"]
    }
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    for name in (rule["alert"] for group in groups for rule in group["rules"]):
        if name not in found:
            yield f"the rule {name} is not there"
        elif found[name]["health"] != "ok":
            yield f"the rule {name} is {found[name]['health']}: {found[name].get('lastError', '')}"
    asked = {name: rule for name, rule in found.items() if rule["labels"].get("severity") != "none"}
    states = Counter(rule["state"] for rule in asked.values())
    print("alert rules:", ", ".join(f"{count} {state}" for state, count in sorted(states.items())))
    for name, rule in sorted(asked.items()):
        if rule["state"] != "inactive":
            print(f"  {rule['state']}: {name}")


def panels(prometheus: Prometheus) -> Iterator[str]:
    """Which questions of the dashboards are not understood; prints which have no answer."""
    for path in sorted(DASHBOARDS.glob("*.json")):
        dashboard = json.loads(path.read_text())
        asked = [
            (panel["title"], target) for panel in dashboard["panels"] for target in panel["targets"]
        ]
        silent = []
        for title, target in asked:
            question = target["expr"].replace("$stage", _ALL)
            try:
                answered = prometheus.get("query", query=question)["result"]
            except RuntimeError as error:
                yield f"{path.name}, {title} {question}: {error}"
                continue
            if not answered:
                silent.append(f"{title} {target['legendFormat']}")
        print(f"{path.name}: {len(asked) - len(silent)} of {len(asked)} questions have an answer")
        for title in silent:
            print(f"  no answer: {title}")
        yield from variables(prometheus, dashboard)


def variables(prometheus: Prometheus, dashboard: dict[str, Any]) -> Iterator[str]:
    """Which of the dashboard's lists to choose from would be empty."""
    for variable in dashboard["templating"]["list"]:
        if asked := re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]):
            figure, label = asked.groups()
            values = prometheus.get(f"label/{label}/values", **{"match[]": figure})
            print(f"  {variable['label']}: {', '.join(values)}")
            if not values:
                yield f"{dashboard['title']} has no {variable['label']} to choose from"


@click.command()
@click.argument("address")
def main(address: str) -> None:
    """Ask the Prometheus at ADDRESS."""
    prometheus = Prometheus(address)
    try:
        wrong = [fault for look in (targets, rules, panels) for fault in look(prometheus)]
    except requests.RequestException as error:
        raise click.ClickException(f"there is no Prometheus at {address}: {error}") from None
    for fault in wrong:
        print(f"WRONG: {fault}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
