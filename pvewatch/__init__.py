"""The ground that both services stand on: configuration, PVE client, rendering, the native stack."""
