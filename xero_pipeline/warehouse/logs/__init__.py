"""What was done and what was told: the sync log, the alerts, the cursors of what has been looked at."""
