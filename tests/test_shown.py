"""What a document shows is compared so that it cannot pass by chance, nor fail by it."""

import pytest

from tests.shown import Different, Likeness

ONE, OTHER, THIRD = "a" * 26, "b" * 26, "c" * 26


def test_an_id_stands_for_another_and_a_time_for_any():
    Likeness().compare(
        f"2026-01-01 10:00:00 {ONE}\n2026-01-01 10:00:00\n",
        f"2027-02-03 11:12:13 {OTHER}  \n2027-02-03 11:12:14\n",
    )


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("told bob: 201\n", "told bob: 404\n"),
        ("one\n", "one\ntwo\n"),
        ("one\n…\nthree\n", "one\ntwo\n"),
        ("… well.\n", "2 broken\n"),
        (f"{ONE}\n", "short\n"),
        (f"{ONE} {ONE}\n", f"{OTHER} {THIRD}\n"),
        (f"{ONE} {THIRD}\n", f"{OTHER} {OTHER}\n"),
        ("(a|b)\n", "a\n"),
    ],
)
def test_what_differs_otherwise_is_found(shown: str, printed: str):
    with pytest.raises(Different):
        Likeness().compare(shown, printed)


def test_what_is_left_out_may_be_anything():
    Likeness().compare("one\n…\nfour …!\n", "one\ntwo\nthree\nfour or five!\n")


def test_commands_get_the_id_that_was_printed():
    likeness = Likeness()
    likeness.compare(f'"id": "{ONE}"\n', f'"id": "{OTHER}"\n')
    assert likeness.in_command(f"xhmtp status {ONE}") == f"xhmtp status {OTHER}"
    with pytest.raises(Different):
        likeness.compare(f"{ONE}\n", f"{THIRD}\n")
