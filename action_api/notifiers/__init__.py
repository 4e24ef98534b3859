"""Messages over the services that Alertmanager does not speak, delivered by a process without any token of PVE."""
