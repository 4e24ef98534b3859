"""The Proxmox VE API as pvewatch uses it: client, models and errors."""
