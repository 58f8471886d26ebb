"""Imported last by the parent of the tests' processes.

What it has imported so far never becomes garbage. Looking through it nonetheless, each of its children would
write to, and so copy, all of its memory: more work than most of them have.
"""

import gc

gc.collect()
gc.freeze()
