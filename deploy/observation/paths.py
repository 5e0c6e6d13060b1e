"""Where are the files that Prometheus and Grafana are given?"""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
DASHBOARDS = HERE / "grafana"
ALERTS = HERE / "alerts.yml"
