"""The search of the log output (log_search.py) finds what it is to find."""

import pytest

from tests.log_search import secrets_in
from xhmtp_wsgi.protocol.access_code import new_code, new_identifier


@pytest.mark.parametrize(
    "line",
    [
        "refused a notification: http://bob%40b.example:{code}@server.a.example/x",
        "token {code}",
        "failed log-in of alice with wonderland",
        "Authorization: Basic YWxpY2U6d29uZGVybGFuZA==",
        "body: Dear Bob",
    ],
)
def test_a_secret_in_a_log_is_found(line: str):
    assert list(secrets_in(line.format(code=new_code())))


def test_what_may_be_logged_is_not_taken_for_a_secret():
    line = f"told bob@b.example of {new_identifier()} at server.b.example: 201"
    assert not list(secrets_in(line))
