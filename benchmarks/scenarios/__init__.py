"""What `make bench` measures: one module for each letter of its table. Each has a `TITLE` and a `measure`."""
