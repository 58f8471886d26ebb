"""Imported last by the parent of the tests' processes, to exclude the imported modules from garbage collection.

The modules never become garbage. If each child's garbage collector examined them, it would write to the shared memory
and so copy all of it, which is more work than most children have.
"""

import gc

gc.collect()
gc.freeze()
