"""`pvewatch status`: every process, every cluster, every queue on one screen, asked the way anybody could ask."""
