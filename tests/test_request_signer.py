"""The promise of the quick signer: what it makes is what http-message-signatures makes."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from xhmtp_wsgi.protocol.request_signer import RequestSigner
from xhmtp_wsgi.protocol.signature import NOTIFICATION, KeyName, sign_message, verify_request

FORM = "application/x-www-form-urlencoded"
URL = "https://server.b.example/xhmtp/bob%40b.example"
NAME = KeyName("k20261125-ab12", "a.example")


@dataclass
class Request:
    """As http-message-signatures wants it."""

    method: str
    url: str
    headers: dict[str, str]


bodies, seeds, times = (
    st.binary(max_size=99),
    st.binary(min_size=32, max_size=32),
    st.floats(0, 4e9),
)


@given(bodies, seeds, times)
def test_it_signs_as_the_library_does(body: bytes, seed: bytes, now: float):
    ours = RequestSigner(seed, NAME, FORM).sign(body, now)
    request = Request("POST", URL, {"Content-Type": FORM})
    sign_message(request, NOTIFICATION, body=body, seed=seed, name=NAME, now=now)
    assert {**ours, "Content-Type": FORM} == request.headers


@given(bodies, seeds)
def test_what_it_signs_verifies(body: bytes, seed: bytes):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    signed = RequestSigner(seed, NAME, FORM).sign(body, 1.8e9)
    headers = {name.lower(): value for name, value in signed.items()} | {"content-type": FORM}
    verify_request(url=URL, headers=headers, body=body, public_key=public, now=1.8e9)
