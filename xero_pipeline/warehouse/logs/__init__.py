"""Records of past work: the sync log, the alerts, and the cursors of the searches for changed documents."""
