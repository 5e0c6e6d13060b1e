"""What do the dashboards show? ``python -m deploy.observation.dashboards`` writes them for Grafana.

Few figures, each the answer to a question that somebody asks at night. The files that this writes
are made, not edited; so is the manifest with the alert rules.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase

import yaml
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DatasourceVariable,
    QueryVariable,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery as Query
from grafana_foundation_sdk.builders.timeseries import Panel as Timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh

from deploy.observation.paths import ALERTS, DASHBOARDS, HERE

RULES = HERE.parent / "kubernetes/components/monitoring/rules.yaml"

#: Of a panel, on a grid of 24 columns.
_WIDTH, _HEIGHT = 8, 8

_SOURCE = DataSourceRef("prometheus", "${source}")


@dataclass(frozen=True)
class Panel:
    """A graph: its title is the question, each query has a legend; units are those of Grafana."""

    title: str
    queries: Mapping[str, str]
    unit: str = "short"


def _quantiles(metric: str, by: str, where: str = "", *, window: str = "10m") -> dict[str, str]:
    """The median and the slowest twentieth of a histogram."""
    rate = f"sum by (le, {by}) (rate({metric}_bucket{{{where}}}[{window}]))"
    return {
        f"{{{{{by}}}}} median": f"histogram_quantile(0.5, {rate})",
        f"{{{{{by}}}}} 95 %": f"histogram_quantile(0.95, {rate})",
    }


OVERVIEW = (
    Panel("Runs that are open", {"open": "max(skyrelay_open_runs)"}),
    Panel(
        "How do runs end?",
        {"{{outcome}}": "sum by (outcome) (increase(skyrelay_run_seconds_count[10m]))"},
    ),
    Panel("How long do they take?", _quantiles("skyrelay_run_seconds", "outcome"), "s"),
    Panel(
        "What waits for each service?",
        {
            "{{queue}} in the database": "max by (queue) (skyrelay_attempts_waiting)",
            "{{queue}} at the broker": 'max by (queue) (skyrelay_queue_messages{queue=~"work.+"})',
        },
    ),
    Panel("Since when?", {"{{queue}}": "max by (queue) (skyrelay_oldest_waiting_seconds)"}, "s"),
    Panel(
        "How many take it?",
        {"{{queue}}": 'max by (queue) (skyrelay_queue_consumers{queue=~"work.+"})'},
    ),
    Panel(
        "What is put aside?",
        {
            "waiting": "max(skyrelay_dead_letters_waiting)",
            "new": "sum(increase(skyrelay_dead_letters_total[10m]))",
        },
    ),
    Panel("How late is the outbox?", {"lag": "max(skyrelay_outbox_lag_seconds)"}, "s"),
    Panel(
        "What room is left?",
        {"free": "min(skyrelay_store_free_bytes)", "size": "max(skyrelay_store_size_bytes)"},
        "bytes",
    ),
    Panel(
        "What is the gateway asked?",
        {"{{status}}": "sum by (status) (rate(skyrelay_http_requests_total[5m]))"},
        "reqps",
    ),
    # There are more than a hundred endpoints: the slowest of them, and all together.
    Panel(
        "How soon does it answer?",
        {
            "all, 95 %": "histogram_quantile(0.95, sum by (le) "
            "(rate(skyrelay_http_seconds_bucket[10m])))",
            "{{endpoint}} 95 %": "topk(10, histogram_quantile(0.95, sum by (le, endpoint) "
            "(rate(skyrelay_http_seconds_bucket[10m]))) > 0)",
        },
        "s",
    ),
    Panel(
        "What is uploaded and downloaded?",
        {
            "in": "sum(rate(skyrelay_http_received_bytes_total[5m]))",
            "out": "sum(rate(skyrelay_http_sent_bytes_total[5m]))",
        },
        "Bps",
    ),
)

_STAGE = 'stage=~"$stage"'

STAGE = (
    Panel(
        "How do attempts end?",
        {
            "{{stage}} {{outcome}}": "sum by (stage, outcome) "
            f"(increase(skyrelay_stage_running_seconds_count{{{_STAGE}}}[10m]))"
        },
    ),
    Panel(
        "How long do they run?", _quantiles("skyrelay_stage_running_seconds", "stage", _STAGE), "s"
    ),
    Panel(
        "How long do they wait?", _quantiles("skyrelay_stage_waiting_seconds", "stage", _STAGE), "s"
    ),
    Panel(
        "What is tried again?",
        {"{{stage}}": f"sum by (stage) (increase(skyrelay_stage_retries_total{{{_STAGE}}}[10m]))"},
    ),
    Panel(
        "Whose workers die?",
        {"{{stage}}": f"sum by (stage) (increase(skyrelay_worker_crashes_total{{{_STAGE}}}[10m]))"},
    ),
    Panel(
        "How many workers are started?",
        {"{{job}}": "sum by (job) (increase(skyrelay_workers_started_total[10m]))"},
    ),
    Panel("How soon is a stage dead?", _quantiles("skyrelay_kill_seconds", "why"), "s"),
    Panel(
        "How busy are the replicas?",
        {"{{job}}": "sum by (job) (skyrelay_in_hand) / sum by (job) (skyrelay_slots)"},
        "percentunit",
    ),
    Panel("How long do the programs take?", _quantiles("skyrelay_program_seconds", "program"), "s"),
    Panel(
        "What is S3 asked?",
        {
            "{{operation}} {{ending}}": "sum by (operation, ending) "
            "(rate(skyrelay_store_seconds_count[10m]))"
        },
        "reqps",
    ),
    Panel("How soon does S3 answer?", _quantiles("skyrelay_store_seconds", "operation"), "s"),
    Panel(
        "What goes to and from S3?",
        {"{{operation}}": "sum by (operation) (rate(skyrelay_store_bytes_total[10m]))"},
        "Bps",
    ),
)

SKY = (
    Panel(
        "What are the sky services asked?",
        {"{{service}}": "sum by (service) (increase(skyrelay_sky_asked_total[10m]))"},
    ),
    Panel(
        "Who does not answer?",
        {
            "{{service}} {{ending}}": "sum by (service, ending) "
            '(increase(skyrelay_sky_asked_total{ending!="ok"}[10m]))'
        },
    ),
    Panel("How soon do they answer?", _quantiles("skyrelay_sky_seconds", "service"), "s"),
    Panel(
        "What do they send?",
        {"{{service}}": "sum by (service) (rate(skyrelay_sky_received_bytes_total[10m]))"},
        "Bps",
    ),
    Panel(
        "What does the cache have?",
        {
            "{{service}}": 'sum by (service) (rate(skyrelay_sky_cache_total{ending="hit"}[1h]))'
            " / sum by (service) (rate(skyrelay_sky_cache_total[1h]))"
        },
        "percentunit",
    ),
)

FOLLOW_UPS = (
    Panel("What is to follow?", {"{{duty}}": "max by (duty) (skyrelay_follow_ups_waiting)"}),
    Panel("Since when?", {"{{duty}}": "max by (duty) (skyrelay_follow_ups_oldest_seconds)"}, "s"),
    Panel(
        "How does it go?",
        {"{{duty}} {{ending}}": "sum by (duty, ending) (increase(skyrelay_follow_ups_total[10m]))"},
    ),
    Panel(
        "How do calls of webhooks and of SkyPortal end?",
        {
            "{{kind}} {{ending}}": "sum by (kind, ending) "
            "(increase(skyrelay_call_seconds_count[10m]))"
        },
    ),
    Panel("How soon are they answered?", _quantiles("skyrelay_call_seconds", "kind"), "s"),
    Panel(
        "What dies, or is interrupted?",
        {
            "the process": "sum(increase(skyrelay_followups_deaths_total[10m]))",
            "{{loop}}": "sum by (loop) (increase(skyrelay_follow_up_interruptions_total[10m]))",
            "renderers": "sum(increase(skyrelay_renderer_deaths_total[10m]))",
        },
    ),
    Panel(
        "What becomes of files that come in?",
        {"{{state}}": "sum by (state) (increase(skyrelay_intake_files_total[10m]))"},
    ),
    Panel(
        "Which of them wait?",
        {
            "complete, and no task": "max(skyrelay_intake_waiting)",
            "unreadable folders": "max(skyrelay_watch_folders_unreadable)",
        },
    ),
    Panel("How long do pictures take?", _quantiles("skyrelay_picture_seconds", "kind"), "s"),
)

#: Name of the file, title, panels.
ALL = (
    ("overview", "Skyrelay: overview", OVERVIEW),
    ("stages", "Skyrelay: stages", STAGE),
    ("sky", "Skyrelay: sky services", SKY),
    ("follow-ups", "Skyrelay: what follows, what comes in, pictures", FOLLOW_UPS),
)


def dashboard(name: str, title: str, panels: Sequence[Panel]) -> str:
    """A dashboard as Grafana imports it: JSON."""
    board = (
        Dashboard(title)
        .uid(f"skyrelay-{name}")
        .tags(["skyrelay"])
        .readonly()
        .refresh("30s")
        .time("now-6h", "now")
        .with_variable(DatasourceVariable("source").label("Source").type("prometheus"))
    )
    if any("$stage" in query for panel in panels for query in panel.queries.values()):
        board.with_variable(_every_stage())
    for number, panel in enumerate(panels, 1):
        board.with_panel(_graph(panel).id(number))
    return json.dumps(board.build(), cls=JSONEncoder, indent=1) + "\n"


def _every_stage() -> QueryVariable:
    return (
        QueryVariable("stage")
        .label("Stage")
        .datasource(_SOURCE)
        .query("label_values(skyrelay_stage_running_seconds_count, stage)")
        .multi(True)
        .include_all(True)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    )


def _graph(panel: Panel) -> Timeseries:
    graph = (
        Timeseries()
        .title(panel.title)
        .datasource(_SOURCE)
        .span(_WIDTH)
        .height(_HEIGHT)
        .unit(panel.unit)
        .min(0)
    )
    for name, (legend, query) in zip(ascii_uppercase, panel.queries.items(), strict=False):
        graph.with_target(Query().ref_id(name).expr(query).legend_format(legend))
    return graph


def rules() -> str:
    """The alert rules as a resource of the Prometheus operator."""
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "skyrelay"},
        "spec": yaml.safe_load(ALERTS.read_text()),
    }
    return "# Made of deploy/observation/alerts.yml by `make docs`.\n" + yaml.safe_dump(
        resource, sort_keys=False, width=100
    )


def files() -> dict[Path, str]:
    """All that is made here, and where it belongs."""
    made = {
        DASHBOARDS / f"{name}.json": dashboard(name, title, panels) for name, title, panels in ALL
    }
    return {**made, RULES: rules()}


if __name__ == "__main__":
    for path, content in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
