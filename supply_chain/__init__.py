"""What the program is made of, and what is known about it: `make sbom` and `make audit`."""
