"""What the web process answers: one module per subject, each with a Flask blueprint.

Nothing in here talks to Proxmox VE. A page shows what the exporter knows; a button writes down what a person asks for.
"""
