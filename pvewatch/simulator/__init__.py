"""A Proxmox VE API in miniature: for the demo, for trying a configuration out and for tests.

It answers what a Proxmox VE 8.4 or 9.2 cluster answers to the calls that pvewatch makes, over TLS, with its permissions
and error texts and tasks; what it does not know it refuses with 501, as the real one does. It deliberately stores only
its certificate and tokens: a restart begins a new cluster from the same seed.

Reading order: `world` (what exists) → `figures` and `readings` (what is measured) → `lifecycle` and `tasks` (what
changes) → `faults` → `cluster` (all of it as time passes) → `permissions` → `routes` and the `endpoints_*` tables (what
is answered) → `https` (how) → `server` and `cli`. `replay` stands beside all that: recorded answers instead.
"""
