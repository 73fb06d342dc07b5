"""What a call takes of the processor, for tests that it grows no faster than what it is given."""

import gc
import time
from collections.abc import Callable


def taken(work: Callable[[], object]) -> float:
    """Its seconds: of this thread alone, and without the garbage of all tests before."""
    gc.disable()
    begun = time.thread_time()
    try:
        work()
        return time.thread_time() - begun
    finally:
        gc.enable()
