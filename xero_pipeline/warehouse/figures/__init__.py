"""The figures: replacing an organisation's week, recording what changed in it, and reading it."""
