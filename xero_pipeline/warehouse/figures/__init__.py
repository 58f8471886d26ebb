"""The figures: replacing an organisation's week, what changed in it, and reading it back."""
