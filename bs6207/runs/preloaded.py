"""The last thing that the server imports from which processes are forked; nobody else does.

What it has imported is never searched for garbage, or each process would copy it. It ends without taking anything
apart: whoever reads the output of the command, which it holds open too, waits for its end.
"""

import atexit
import gc
import os

gc.freeze()
atexit.register(os._exit, 0)
