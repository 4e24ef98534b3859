"""People and Alertmanager ask here; the worker acts."""
