"""Reads Proxmox VE, receives heartbeats and serves metrics; never changes a guest."""
