"""The command line. Each command is a few lines over the same objects that Dagster and the admin page use.

Exit status: 0 done, 1 failed with one clear line on stderr, 2 wrong usage.
"""

from xero_pipeline.cli.main import main

__all__ = ["main"]
