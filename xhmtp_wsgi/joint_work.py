"""Joint work: what several threads of a process want done at the same time, one does for all.

So a burst of requests costs one transaction, where the server is threaded, and none waits for
longer than for the work before it. It is what databases call group commit.
"""

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from xhmtp_wsgi.errors import Transient

MOST_AT_ONCE = 200  # items, where more than one thread wants something done

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(slots=True, eq=False)
class _Wish(Generic[_Item, _Result]):
    """What one thread wants done, and what came of it."""

    items: Sequence[_Item]
    results: Sequence[_Result] = ()
    error: Exception | None = None
    is_done: bool = False


@dataclass(slots=True)
class _Process(Generic[_Item, _Result]):
    """What the threads of one process share."""

    number: int
    at_work: threading.Lock = field(default_factory=threading.Lock)
    lock: threading.Lock = field(default_factory=threading.Lock)
    wishes: list[_Wish[_Item, _Result]] = field(default_factory=list)


class JointWork(Generic[_Item, _Result]):
    """One kind of work, safe to be asked for by several threads, and after a fork."""

    def __init__(self) -> None:
        self._process: _Process[_Item, _Result] = _Process(os.getpid())

    def do(
        self, items: Sequence[_Item], work: Callable[[Sequence[_Item]], Sequence[_Result]]
    ) -> Sequence[_Result]:
        """The results of these, in their order. Raises what the work does.

        ``work``: the same from all threads; it does all or nothing of what it is given, and has a
        result for each.
        """
        if self._process.number != os.getpid():
            # A lock may be held by a thread that only the parent has.
            self._process = _Process(os.getpid())
        process = self._process
        wish: _Wish[_Item, _Result] = _Wish(items)
        with process.lock:
            process.wishes.append(wish)
        with process.at_work:
            # Whoever had the turn before may have done this one too.
            if not wish.is_done:
                _serve(_next(process, wish), work)
        if wish.error is not None:
            raise wish.error
        return wish.results


def _serve(
    wishes: Sequence[_Wish[_Item, _Result]], work: Callable[[Sequence[_Item]], Sequence[_Result]]
) -> None:
    try:
        results = iter(work([item for wish in wishes for item in wish.items]))
    except Exception as error:
        if len(wishes) > 1 and not isinstance(error, Transient):
            # One of them is at fault, and the others shall not suffer for it.
            for wish in wishes:
                _serve([wish], work)
            return
        for wish in wishes:
            wish.error, wish.is_done = error, True
    else:
        for wish in wishes:
            wish.results = [next(results) for _ in wish.items]
            wish.is_done = True


def _next(
    process: _Process[_Item, _Result], own: _Wish[_Item, _Result]
) -> list[_Wish[_Item, _Result]]:
    """Takes the wishes that are done now: this one, and others as far as there is room."""
    with process.lock:
        chosen, size = [own], len(own.items)
        for wish in process.wishes:
            if wish is not own and size + len(wish.items) <= MOST_AT_ONCE:
                chosen.append(wish)
                size += len(wish.items)
        process.wishes = [wish for wish in process.wishes if wish not in chosen]
    return chosen
