"""`python sleepers.py FOLDER`: two workers fall asleep, each after leaving a file named by its process id in FOLDER."""

import os
import signal
import sys
import time
from pathlib import Path

from bs6207.runs.executor import local_executor
from bs6207.runs.tasks import map_tasks


class Silent:
    """Progress that nobody watches."""

    step = status = warn = record = staticmethod(lambda *reported: None)


def sleep(folder, progress):
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(3600)


if __name__ == "__main__":
    import sleepers  # by this name the workers find what they are to do

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what it puts behind & deaf to it
    with local_executor(2) as executor:
        map_tasks(executor, Path(sys.argv[1]), sleepers.sleep, dict.fromkeys("ab", sys.argv[1]), Silent())
