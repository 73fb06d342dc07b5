"""Who asks for what is not there learns nothing from the time that the answer takes.

Times are compared with each other, in interleaved turns, never with a figure.
"""

import statistics
import time
from collections.abc import Callable

from tests.test_signature import form
from tests.world import World, basic, call

TURNS = 300


def medians(world: World, **asked: Callable[[], object]) -> dict[str, float]:
    """The median seconds of each, asked in turns."""
    taken: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(TURNS):
        for name, ask in asked.items():
            begun = time.perf_counter()
            ask()
            taken[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times) for name, times in taken.items()}


def alike(found: dict[str, float], within: float) -> bool:
    return max(found.values()) <= within * min(found.values())


def test_a_wrong_code_takes_as_long_as_a_message_that_never_was(sqlite_world: World):
    world = sqlite_world
    there = world.inject().headers["Location"]
    never = there[:-26] + "a" * 26
    wrong = basic("bob@b.example", "x" * 32)
    other = basic("eve@b.example", "x" * 32)
    answers = {
        (answer.status_int, answer.text)
        for answer in (
            call(world.a, there, authorization=wrong),
            call(world.a, never, authorization=wrong),
            call(world.a, there, authorization=other),
        )
    }
    assert len(answers) == 1, "the same answer, to the letter"
    assert {status for status, _ in answers} == {401}
    found = {}
    for _ in range(5):
        found = medians(
            world,
            wrong_code=lambda: call(world.a, there, authorization=wrong),
            unknown_message=lambda: call(world.a, never, authorization=wrong),
            unknown_recipient=lambda: call(world.a, there, authorization=other),
        )
        if alike(found, 1.4):
            return
    raise AssertionError(found)


def test_an_unknown_user_takes_as_long_as_a_wrong_password(sqlite_world: World):
    world = sqlite_world
    hashed: list[bool] = []
    passwords = world.a.agent.accounts._passwords
    real = passwords._hasher.verify

    class Counting:
        def verify(self, *arguments: object) -> bool:
            hashed.append(True)
            return bool(real(*arguments))  # type: ignore[arg-type]

        hash = passwords._hasher.hash

    passwords._hasher = Counting()  # type: ignore[assignment]
    answers = set()
    for user in ("alice@a.example", "nobody@a.example", "nobody@elsewhere.example", "x" * 300):
        hashed.clear()
        answer = call(world.a, "/xhmtp/alice/", authorization=basic(user, "wrong"))
        answers.add((answer.status_int, answer.text))
        assert len(hashed) == 1, f"the slow hash is made once for {user[:20]}"
    assert len(answers) == 1


def test_a_hidden_name_takes_as_long_as_one_that_is_there(sqlite_world: World):
    world = sqlite_world
    object.__setattr__(world.b.agent.settings.domains["b.example"], "unknown_recipients", "hide")
    number = iter(range(10**6))

    def notify(name: str) -> None:
        letters = f"{next(number):06}".translate(str.maketrans("0123456789", "abcdefghij"))
        body = form().replace(b"abcdefghijklmnopqrstuvwxyz", letters.encode() + b"a" * 20)
        body = body.replace(b"bob%2540", name.encode() + b"%2540")
        call(
            world.b, f"/in/box/{name}@b.example", method="POST", body=body,
            content_type="application/x-www-form-urlencoded", address="192.0.2.1",
        )  # fmt: skip

    found = {}
    for _ in range(5):
        found = medians(world, known=lambda: notify("bob"), unknown=lambda: notify("bub"))
        if alike(found, 1.6):
            return
    raise AssertionError(found)
