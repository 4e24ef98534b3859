"""Prometheus, Alertmanager and Grafana files out of Settings."""
