"""How the interpreter runs the tests: what it keeps compiled, and when it looks for garbage.

Thousands of tests and some hundred processes pay for both; what they test does not depend on it.
"""

import gc
import os
import sys

# New objects after which garbage is looked for. With the interpreter's own 700 a third of a run
# would be spent on looking.
OBJECTS = 20_000


def keep_compiled() -> None:
    """Compiled modules are kept, whatever the machine says: else each process compiles them anew.

    Here, and in the processes that are started from here on.
    """
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def leave_garbage() -> None:
    """While modules are imported and tests are collected, next to nothing becomes garbage."""
    gc.disable()


def pass_over_what_is_there() -> None:
    """From here on garbage is looked for, but not among what was imported and collected."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS)
    gc.enable()
