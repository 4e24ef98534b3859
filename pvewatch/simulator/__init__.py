"""A Proxmox VE API in miniature, for demonstrations and tests."""
