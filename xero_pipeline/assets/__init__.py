"""One module for each table: fetch the week, extract its figures, replace it, report it. `checks.py` checks them."""
