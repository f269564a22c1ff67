"""The dashboards, written as Python and committed as what Grafana reads."""
