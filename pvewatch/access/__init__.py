"""From deciding to try to real figures: the commands that make tokens, and the questions that make pvewatch.yaml."""
