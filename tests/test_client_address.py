"""Which address a request comes from, through proxies or not."""

import pytest
from webob import Request

from xhmtp_wsgi.client_address import client_address
from xhmtp_wsgi.setting_types import proxies

CLIENT = "198.51.100.7"


@pytest.mark.parametrize(
    ("remote", "forwarded", "trusted", "found"),
    [
        (CLIENT, None, [], CLIENT),
        (CLIENT, "6.6.6.6", [], CLIENT),
        ("127.0.0.1", CLIENT, ["127.0.0.1"], CLIENT),
        ("127.0.0.1", f"6.6.6.6, {CLIENT}", ["127.0.0.1"], CLIENT),
        ("127.0.0.1", f"{CLIENT}, 10.0.0.1", ["127.0.0.1", "10.0.0.0/8"], CLIENT),
        ("127.0.0.1", "nonsense", ["127.0.0.1"], "127.0.0.1"),
        ("127.0.0.1", "1.2.3.4," * 1000, ["127.0.0.1"], "127.0.0.1"),
        ("::ffff:198.51.100.7", None, [], CLIENT),
        ("", CLIENT, [], None),
        ("", CLIENT, ["127.0.0.1"], None),
        ("", CLIENT, ["unix"], CLIENT),
        ("", f"6.6.6.6, {CLIENT}", ["unix"], CLIENT),
        ("", None, ["unix"], None),
        ("", "nonsense", ["unix"], None),
        ("::", CLIENT, [], None),
        (CLIENT, "6.6.6.6", ["unix"], CLIENT),
    ],
)
def test_only_what_a_trusted_proxy_says_is_believed(
    remote: str, forwarded: str | None, trusted: list[str], found: str | None
):
    request = Request.blank("/")
    request.environ["REMOTE_ADDR"] = remote
    if forwarded is not None:
        request.headers["X-Forwarded-For"] = forwarded
    address = client_address(request, proxies(trusted))
    assert (None if address is None else str(address)) == found
