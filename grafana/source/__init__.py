"""The source of grafana/dashboards/*.json: run `make dashboards` after a change, a test compares the bytes."""
