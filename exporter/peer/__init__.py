"""`/pve?target=…`: what prometheus-pve-exporter answers, for who has it today and changes one address.

modules   who asks: pve.yml, PVE_* of the environment, or the clusters of pvewatch.yaml
targets   which hosts may be asked, and with whose login
reads     calls to one host, each kept a short while and never made twice at once
families  rows of Proxmox VE → the families of prometheus-pve-exporter, same names, labels and values
endpoint  one answer out of the above; routes.py is its HTTP, alone.py the process that serves nothing else
"""
