"""Signed lists of keys: what passes, and that no signature passes for what it was not made for."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.test_signature import FORM, NAME, NOW, SEED, URL, public, replaced, without
from tests.test_signature import signed as signed_request
from xhmtp_wsgi.errors import MalformedSignature, SignatureInvalid, XHMTPError
from xhmtp_wsgi.protocol.response_signature import (
    KEYS_VALID_FOR,
    key_of_response,
    sign_response,
    verify_response,
)
from xhmtp_wsgi.protocol.signature import (
    NOTIFICATION,
    Purpose,
    key_of,
    sign_message,
    verify_request,
)

TYPE = "text/plain; charset=utf-8"
BODY = b"# keys of bob@b.example\n"


def signed(body: bytes = BODY, *, now: float = NOW, status: int = 200) -> dict[str, str]:
    fields = sign_response(
        content_type=TYPE, body=body, seed=SEED, name=NAME, now=now, status=status
    )
    return {"content-type": TYPE, **{name.lower(): value for name, value in fields.items()}}


def verified(
    headers: Mapping[str, str], body: bytes = BODY, now: float = NOW, status: int = 200
) -> float:
    return verify_response(status=status, headers=headers, body=body, public_key=public(), now=now)


def test_what_we_sign_verifies_names_its_key_and_says_until_when():
    headers = signed()
    assert key_of_response(headers) == NAME
    assert verified(headers) == NOW + KEYS_VALID_FOR
    assert 'tag="xhmtp-keys"' in headers["signature-input"]


@pytest.mark.parametrize("offset", [-299, 299, 3600, KEYS_VALID_FOR + 299])
def test_a_copy_of_a_cache_is_good_for_an_hour_and_more(offset: int):
    verified(signed(), now=NOW + offset)


@pytest.mark.parametrize(("offset", "why"), [(KEYS_VALID_FOR + 301, "expired"), (-301, "future")])
def test_a_signature_out_of_its_time_names_the_clocks(offset: int, why: str):
    with pytest.raises(SignatureInvalid, match=why):
        verified(signed(), now=NOW + offset)


def signed_for(purpose: Purpose) -> dict[str, str]:
    """Headers that are signed as a list of keys is, but for something else."""

    message = SimpleNamespace(status_code=200, headers={"content-type": TYPE})
    sign_message(message, purpose, body=BODY, seed=SEED, name=NAME, now=NOW)
    return {name.lower(): value for name, value in message.headers.items()}


def request_signed_for(purpose: Purpose) -> dict[str, str]:
    """Headers that are signed as a notification is, but for something else."""
    message = SimpleNamespace(method="POST", url=URL, headers={"content-type": FORM})
    sign_message(message, purpose, body=BODY, seed=SEED, name=NAME, now=NOW)
    return {name.lower(): value for name, value in message.headers.items()}


def test_a_list_of_others_may_be_good_for_a_day_and_no_longer():
    covered = ("@status", "content-type", "content-digest")
    assert verified(signed_for(Purpose("xhmtp-keys", covered, 86400, 0, ""))) == NOW + 86400
    with pytest.raises(SignatureInvalid, match="more than a day"):
        verified(signed_for(Purpose("xhmtp-keys", covered, 86401, 0, "")))


MUTANTS: dict[str, Any] = {
    "another type": lambda h: {**h, "content-type": "text/html"},
    "no type": lambda h: without(h, "content-type"),
    "no digest": lambda h: without(h, "content-digest"),
    "type not covered": lambda h: replaced(h, "signature-input", '"content-type" ', ""),
    "status not covered": lambda h: replaced(h, "signature-input", '"@status" ', ""),
    "the request's type covered": lambda h: replaced(
        h, "signature-input", '"content-type"', '"content-type";req'
    ),
    "nothing covered": lambda h: {
        **h,
        "signature-input": "xhmtp=()" + h["signature-input"].partition(")")[2],
    },
    "longer validity": lambda h: replaced(h, "signature-input", "expires=18", "expires=19"),
    "another tag": lambda h: replaced(h, "signature-input", '"xhmtp-keys"', '"xhmtp"'),
    "another algorithm": lambda h: replaced(h, "signature-input", "ed25519", "hmac-sha256"),
    "no created": lambda h: replaced(h, "signature-input", ";created=1800000000", ""),
    "no signature": lambda h: {**h, "signature": "xhmtp=::"},
    "cut signature": lambda h: {**h, "signature": h["signature"][:-9] + ":"},
    "another label": lambda h: replaced(h, "signature", "xhmtp=", "other="),
    "two of them": lambda h: {
        **h,
        "signature": f"{h['signature']}, b{h['signature']}",
        "signature-input": f"{h['signature-input']}, b{h['signature-input']}",
    },
}


@pytest.mark.parametrize("what", MUTANTS)
def test_a_changed_answer_does_not_verify(what: str):
    with pytest.raises(SignatureInvalid):
        verified(MUTANTS[what](signed()))


def test_neither_another_status_nor_another_key_passes():
    with pytest.raises(SignatureInvalid):
        verified(signed(), status=404)
    with pytest.raises(SignatureInvalid):
        verify_response(
            status=200, headers=signed(), body=BODY, public_key=public(bytes(32)), now=NOW
        )


@given(st.binary(max_size=300), st.integers(0, 299), st.integers(1, 255))
def test_one_changed_octet_of_the_list_is_found(body: bytes, place: int, change: int):
    headers = signed(body)
    verified(headers, body)
    if body:
        place %= len(body)
        changed = body[:place] + bytes([body[place] ^ change]) + body[place + 1 :]
        with pytest.raises(SignatureInvalid, match="does not match"):
            verified(headers, changed)


@given(st.text(max_size=200), st.text(max_size=200))
def test_no_signature_fields_make_more_than_an_error_of_ours(given_input: str, signature: str):
    headers = {"content-type": TYPE, "signature-input": given_input, "signature": signature}
    try:
        key_of_response(headers)
        verified(headers)
    except XHMTPError:
        return
    raise AssertionError("it verified")


# What was signed for one purpose passes for no other


def test_a_signed_notification_is_no_signed_list():
    headers = signed_request(BODY)
    assert key_of(headers) == NAME
    assert key_of_response(headers) is None
    with pytest.raises(SignatureInvalid):
        verified({**headers, "content-type": TYPE})
    for tag in ("xhmtp", "xhmtp-keys"):
        relabelled = replaced(headers, "signature-input", 'tag="xhmtp"', f'tag="{tag}"')
        with pytest.raises(SignatureInvalid):
            verified(relabelled)


def test_a_signed_list_is_no_signed_notification():
    headers = signed()
    assert key_of(headers) is None
    with pytest.raises(SignatureInvalid):
        verify_request(url=URL, headers=headers, body=BODY, public_key=public(), now=NOW)
    relabelled = replaced(headers, "signature-input", "xhmtp-keys", "xhmtp")
    with pytest.raises(SignatureInvalid):
        verify_request(url=URL, headers=relabelled, body=BODY, public_key=public(), now=NOW)


def test_the_tag_decides_even_where_all_else_is_right():
    """The same components, the same key, and the other tag."""
    status = ("@status", "content-type", "content-digest")
    headers = signed_for(Purpose("xhmtp", status, 300, 0, ""))
    assert key_of_response(headers) is None
    with pytest.raises(SignatureInvalid):
        verified(headers)

    headers = request_signed_for(Purpose("xhmtp-keys", NOTIFICATION.covered, 300, 0, ""))
    assert key_of(headers) is None
    with pytest.raises(SignatureInvalid):
        verify_request(url=URL, headers=headers, body=BODY, public_key=public(), now=NOW)


def test_a_long_validity_is_not_for_notifications():
    """What a list may be good for, a notification may not."""

    headers = request_signed_for(Purpose("xhmtp", NOTIFICATION.covered, 3600, 0, ""))
    with pytest.raises(SignatureInvalid, match="more than ten minutes"):
        verify_request(url=URL, headers=headers, body=BODY, public_key=public(), now=NOW)


def test_two_signatures_for_keys_are_refused_and_one_of_each_kind_is_not():
    headers = signed()
    twice = MUTANTS["two of them"](headers)
    with pytest.raises(MalformedSignature, match="several"):
        key_of_response(twice)
    other = signed_for(Purpose("other", ("@status",), 300, 0, ""))
    both = {
        **headers,
        "signature": f"{headers['signature']}, b{other['signature']}",
        "signature-input": f"{headers['signature-input']}, b{other['signature-input']}",
    }
    assert key_of_response(both) == NAME
    verified(both)
