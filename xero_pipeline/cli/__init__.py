"""The command line. Each command uses the same objects as Dagster and the admin page.

Exit status: 0 done, 1 failed with one clear line on stderr, 2 wrong usage.
"""

from xero_pipeline.cli.main import main

__all__ = ["main"]
