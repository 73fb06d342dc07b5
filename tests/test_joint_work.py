"""Joint work: one does it for all, each gets his own result, and nobody suffers for another."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from xhmtp_wsgi.errors import DatabaseUnavailable
from xhmtp_wsgi.joint_work import MOST_AT_ONCE, JointWork


class Slow:
    """Doubles numbers; the first time it waits until so many others are waiting."""

    def __init__(self, joint: "JointWork[int, int]", others: int) -> None:
        self.calls: list[list[int]] = []
        self.others = others
        self.joint = joint

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.calls.append(list(items))
        while len(self.calls) == 1 and len(self.joint._process.wishes) < self.others:
            time.sleep(0.001)
        return self.result(items)

    def result(self, items: Sequence[int]) -> list[int]:
        return [2 * item for item in items]


def at_once(joint: "JointWork[int, int]", wanted: Sequence[Sequence[int]],
            work: Callable[[Sequence[int]], Sequence[int]]) -> list[object]:  # fmt: skip
    """What each of several threads gets, or the error that it is."""

    def ask(items: Sequence[int]) -> object:
        try:
            return joint.do(items, work)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(wanted)) as pool:
        return list(pool.map(ask, wanted))


def test_what_waits_is_done_together_and_each_gets_his_own():
    joint: JointWork[int, int] = JointWork()
    work = Slow(joint, others=7)
    wanted = [[number, number + 100] for number in range(8)]
    assert at_once(joint, wanted, work) == [[2 * one for one in items] for items in wanted]
    assert len(work.calls) == 2, "that of the first, and that of the seven who waited"
    assert sorted(len(items) for items in work.calls) == [2, 14]


def test_one_alone_waits_for_nobody():
    joint: JointWork[int, int] = JointWork()
    assert joint.do([1, 2], lambda items: [item + 1 for item in items]) == [2, 3]


def test_no_more_are_done_together_than_there_is_room_for():
    joint: JointWork[int, int] = JointWork()
    work = Slow(joint, others=3)
    wanted = [[0] * (MOST_AT_ONCE // 2)] * 4
    assert at_once(joint, wanted, work) == wanted
    assert max(map(len, work.calls)) == MOST_AT_ONCE
    assert len(work.calls) == 3


def test_a_fault_of_one_is_his_alone():
    joint: JointWork[int, int] = JointWork()

    class Picky(Slow):
        def result(self, items: Sequence[int]) -> list[int]:
            if 5 in items:
                raise ValueError("five")
            return super().result(items)

    found = at_once(joint, [[number] for number in range(8)], Picky(joint, others=7))
    assert isinstance(found.pop(5), ValueError)
    assert found == [[0], [2], [4], [6], [8], [12], [14]]


def test_what_may_pass_is_told_to_all_and_not_tried_for_each():
    joint: JointWork[int, int] = JointWork()

    class Gone(Slow):
        def result(self, items: Sequence[int]) -> list[int]:
            if len(self.calls) > 1:
                raise DatabaseUnavailable("not now")
            return super().result(items)

    work = Gone(joint, others=7)
    found = at_once(joint, [[number] for number in range(8)], work)
    assert sum(isinstance(one, DatabaseUnavailable) for one in found) == 7
    assert len(work.calls) == 2
    assert joint.do([4], lambda items: list(items)) == [4], "and the next one is done"


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_process_that_was_forked_meanwhile_does_its_own():
    joint: JointWork[int, int] = JointWork()
    at_work, go_on = threading.Event(), threading.Event()

    def slow(items: Sequence[int]) -> list[int]:
        at_work.set()
        go_on.wait(60)
        return list(items)

    thread = threading.Thread(target=joint.do, args=([1], slow))
    thread.start()
    at_work.wait(60)
    child = os.fork()
    if child == 0:
        # The parent's thread holds the lock, and is not here.
        os._exit(0 if joint.do([2], lambda items: list(items)) == [2] else 1)
    go_on.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
