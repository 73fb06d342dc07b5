"""Signed notifications: what passes, what does not, and keys that change without a gap."""

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.resolver import FakeResolver
from tests.world import BOB, MESSAGE, ZONE, Clock, World, call
from xhmtp_wsgi.discovery import AgentTarget, Discovery
from xhmtp_wsgi.dns_resolver import CachingResolver
from xhmtp_wsgi.errors import Duplicate, NotFound, SignatureInvalid, XHMTPError
from xhmtp_wsgi.network import HTTPAnswer
from xhmtp_wsgi.protocol.request_signer import RequestSigner
from xhmtp_wsgi.protocol.signature import (
    KeyName,
    key_of,
    key_record,
    parse_key_record,
    verify_request,
)
from xhmtp_wsgi.recipient import inbox
from xhmtp_wsgi.recipient.authorship import check_signature

URL = "http://server.b.example/in/box/bob%40b.example"
FORM = "application/x-www-form-urlencoded"
NAME = KeyName("k1", "a.example")
SEED = bytes(range(32))
NOW = 1_800_000_000.0


def public(seed: bytes = SEED) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def signed(body: bytes, *, name: KeyName = NAME, seed: bytes = SEED, now: float = NOW):
    fields = RequestSigner(seed, name, FORM).sign(body, now)
    return {"content-type": FORM, **{field.lower(): value for field, value in fields.items()}}


def verified(headers: Mapping[str, str], body: bytes, now: float = NOW) -> None:
    verify_request(url=URL, headers=headers, body=body, public_key=public(), now=now)


def test_what_we_sign_verifies_and_names_its_key():
    headers = signed(b"url=x")
    assert key_of(headers) == NAME
    verified(headers, b"url=x")


@pytest.mark.parametrize("offset", [-299, 299])
def test_clocks_may_differ_by_five_minutes(offset: int):
    verified(signed(b"x"), b"x", NOW + offset)


@pytest.mark.parametrize(("offset", "why"), [(601, "expired"), (-301, "future")])
def test_a_signature_out_of_its_time_names_the_clocks(offset: int, why: str):
    with pytest.raises(SignatureInvalid, match=why):
        verified(signed(b"x"), b"x", NOW + offset)


def without(headers: dict[str, str], name: str) -> dict[str, str]:
    return {field: value for field, value in headers.items() if field != name}


def replaced(headers: dict[str, str], name: str, old: str, new: str) -> dict[str, str]:
    assert old in headers[name]
    return {**headers, name: headers[name].replace(old, new)}


MUTANTS: dict[str, Any] = {
    "another body": lambda h: h,
    "another type": lambda h: {**h, "content-type": "text/plain"},
    "no type": lambda h: without(h, "content-type"),
    "no digest": lambda h: without(h, "content-digest"),
    "type not covered": lambda h: replaced(h, "signature-input", '"content-type" ', ""),
    "nothing covered": lambda h: {
        **h,
        "signature-input": "xhmtp=()" + h["signature-input"].partition(")")[2],
    },
    "longer validity": lambda h: replaced(h, "signature-input", "expires=18", "expires=19"),
    "another tag": lambda h: replaced(h, "signature-input", 'tag="xhmtp"', 'tag="other"'),
    "another algorithm": lambda h: replaced(h, "signature-input", "ed25519", "hmac-sha256"),
    "no created": lambda h: replaced(h, "signature-input", ";created=1800000000", ""),
    "no signature": lambda h: {**h, "signature": "xhmtp=::"},
    "cut signature": lambda h: {**h, "signature": h["signature"][:-9] + ":"},
    "another label": lambda h: replaced(h, "signature", "xhmtp=", "other="),
}


@pytest.mark.parametrize("what", MUTANTS)
def test_a_changed_request_does_not_verify(what: str):
    headers = MUTANTS[what](signed(b"url=x"))
    with pytest.raises(SignatureInvalid):
        verified(headers, b"url=y" if what == "another body" else b"url=x")


@given(st.binary(max_size=300), st.integers(0, 299), st.integers(1, 255))
def test_one_changed_octet_of_the_body_is_found(body: bytes, place: int, change: int):
    headers = signed(body)
    verified(headers, body)
    if body:
        place %= len(body)
        changed = body[:place] + bytes([body[place] ^ change]) + body[place + 1 :]
        with pytest.raises(SignatureInvalid):
            verified(headers, changed)


@given(st.text(max_size=200), st.text(max_size=200))
def test_no_signature_fields_make_more_than_an_error_of_ours(given_input: str, signature: str):
    headers = {"content-type": FORM, "signature-input": given_input, "signature": signature}
    try:
        key_of(headers)
        verified(headers, b"x")
    except XHMTPError:
        return
    raise AssertionError("it verified")


@given(st.binary(max_size=100) | st.text(max_size=100).map(lambda t: f"v=xhmtp1; {t}".encode()))
def test_no_key_record_makes_more_than_an_error_of_ours(octets: bytes):
    try:
        key = parse_key_record(octets)
    except XHMTPError:
        return
    assert key is None or parse_key_record(key_record(key).encode()) == key


@pytest.mark.parametrize(
    "record",
    ["", "v=xhmtp1", "v=xhmtp1; k=rsa; p=AAAA", "v=xhmtp2; k=ed25519; p=", "v=xhmtp1;k=ed25519;p=!",
     "v=xhmtp1; k=ed25519; p=AAAA", "v=xhmtp1; k=ed25519; p=" + "A" * 43 + "=",
     "v=xhmtp1; k=ed25519; p=; p="],
)  # fmt: skip
def test_what_is_no_key_record_is_refused(record: str):
    with pytest.raises(XHMTPError):
        parse_key_record(record.encode())


def test_a_revoked_key_and_unknown_tags_are_understood():
    assert parse_key_record(b"v=xhmtp1; k=ed25519; p=") is None
    assert parse_key_record(key_record(public()).encode() + b"; x=y;") == public()


# Between two agents


class Published:
    """Key records of a.example in the world's DNS."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.records: list[str] = []
        self.base = ZONE

    def publish(self, *names_and_keys: tuple[KeyName, bytes | None]) -> None:
        lines = []
        for name, key in names_and_keys:
            record = "v=xhmtp1; k=ed25519; p=" if key is None else key_record(key)
            lines.append(f'{name}. 60 TXT "{record}"')
        self.world.resolver.set_zone(self.base + "\n".join(lines))


def post(world: World, headers: Mapping[str, str], body: bytes, address: str = "192.0.2.99") -> Any:
    fields = {name: value for name, value in headers.items() if name != "content-type"}
    return call(
        world.b, "/in/box/bob@b.example", method="POST", body=body, headers=fields,
        content_type=headers["content-type"], address=address,
    )  # fmt: skip


def form(author: str = "alice@a.example", host: str = "server.a.example") -> bytes:
    url = f"http://bob%40b.example:CODE@{host}/xhmtp/alice/abcdefghijklmnopqrstuvwxyz"
    headers = f"From: {author}\r\n" if author else "Subject: anonymous\r\n"
    return urlencode({"url": url, "headers": headers}).encode()


def checks(world: World) -> dict[str, str]:
    (notice,) = inbox.page(world.b.agent.database, BOB, newest=1, limit=1)
    return {check.name: check.result for check in notice.checks}


def test_a_signed_notification_needs_no_right_address(sqlite_world: World):
    Published(sqlite_world).publish((NAME, public()))
    body = form()
    assert post(sqlite_world, signed(body), body).status_int == 201
    assert checks(sqlite_world) == {"origin": "fail", "agent": "pass", "signature": "pass"}


def test_an_agent_with_a_key_signs_and_the_feed_says_so(world: World):
    key = world.a.agent.signing_keys.add("a.example")
    Published(world).publish((key.name, key.public))
    world.inject()
    assert world.notify().notified == 1
    feed = world.feed(headers={"Accept": "application/feed+json"}).json
    found = feed["items"][0]["_xhmtp"]["checks"]
    assert {name: check["result"] for name, check in found.items()} == {
        "origin": "pass", "agent": "pass", "signature": "pass",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "signature", "address", "answer"),
    [
        ("origin or signature", "good", "wrong", 201),
        ("origin or signature", "none", "right", 201),
        ("origin or signature", "bad", "right", 201),
        ("origin or signature", "bad", "wrong", 401),
        ("origin or signature", "none", "wrong", 403),
        ("origin", "good", "wrong", 403),
        ("origin", "none", "right", 201),
        ("signature", "good", "wrong", 201),
        ("signature", "none", "right", 403),
        ("signature", "bad", "right", 401),
        ("origin and signature", "good", "right", 201),
        ("origin and signature", "good", "wrong", 403),
        ("origin and signature", "none", "right", 403),
        ("origin and signature", "bad", "right", 401),
    ],
)
def test_the_domains_policy_decides(
    sqlite_world: World, policy: str, signature: str, address: str, answer: int
):
    world = sqlite_world
    object.__setattr__(world.b.agent.settings.domains["b.example"], "verify", policy)
    Published(world).publish((NAME, public()))
    body = form()
    headers = {
        "good": signed(body),
        "bad": signed(body, seed=bytes(32)),
        "none": {"content-type": FORM},
    }[signature]
    source = {"right": "192.0.2.1", "wrong": "192.0.2.99"}[address]
    assert post(world, headers, body, source).status_int == answer


def test_while_the_dns_is_down_a_key_is_waited_for(sqlite_world: World):
    world = sqlite_world
    Published(world).publish((NAME, public()))
    world.resolver.failing.add(str(NAME))
    body = form()
    assert post(world, signed(body), body).status_int == 503
    assert post(world, signed(body), body, "192.0.2.1").status_int == 201, "the origin passes"


def test_a_key_that_was_replaced_under_its_name_is_asked_for_again():
    clock = Clock(NOW)
    resolver = FakeResolver(f'{NAME}. 3600 TXT "{key_record(public(bytes(32)))}"')
    discovery = Discovery(CachingResolver(resolver, clock))
    body = form()

    def checked() -> str:
        return check_signature(
            signed(body), body, target=URL, domain="a.example", discovery=discovery, now=NOW
        ).result

    assert checked() == "fail"
    resolver.set_zone(f'{NAME}. 3600 TXT "{key_record(public())}"')
    clock.now += 31
    assert checked() == "pass", "although the old answer was good for an hour"


# Keys that change


def test_a_secret_is_its_owners_alone(sqlite_world: World):
    key = sqlite_world.a.agent.signing_keys.add("a.example")
    directory = Path(sqlite_world.a.agent.settings.key_directory)
    file = directory / "a.example" / f"{key.name.selector}.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    Published(sqlite_world).publish((key.name, key.public))
    file.chmod(0o644)
    assert sqlite_world.a.agent.signing_keys.signer("a.example") is None, "others can read it"


def test_a_new_key_waits_until_everybody_can_know_it(sqlite_world: World):
    world = sqlite_world
    keys, published = world.a.agent.signing_keys, Published(world)

    def signing() -> KeyName | None:
        world.clock.now += 31
        signer = keys.signer("a.example")
        return None if signer is None else signer.name

    assert signing() is None
    first = keys.add("a.example")
    assert signing() is None, "not before it is published"
    published.publish((first.name, first.public))
    assert signing() == first.name, "the first one at once"
    world.clock.now += 86400
    second = keys.add("a.example")
    assert signing() == first.name
    published.publish((first.name, first.public), (second.name, second.public))
    assert signing() == first.name
    world.clock.now += 3600
    assert signing() == second.name
    keys.retire("a.example", first.name.selector)
    assert signing() == second.name
    with pytest.raises(Duplicate, match="stays"):
        keys.retire("a.example", second.name.selector)
    with pytest.raises(NotFound):
        keys.retire("a.example", "nothing")


def test_keys_change_twice_under_load_and_no_notification_is_refused(sqlite_world: World):
    world = sqlite_world
    object.__setattr__(world.b.agent.settings.domains["b.example"], "verify", "signature")
    keys, published = world.a.agent.signing_keys, Published(world)
    made = [keys.add("a.example")]
    published.publish((made[0].name, made[0].public))
    used = set()
    real = world.network.post

    def noting(
        target: AgentTarget,
        path: str,
        body: bytes | memoryview,
        headers: Mapping[str, str],
        **options: Any,
    ) -> HTTPAnswer:
        used.add(str(key_of({name.lower(): value for name, value in headers.items()})))
        return real(target, path, body, headers, **options)

    world.network.post = noting  # type: ignore[method-assign]
    told = 0
    for step in range(20):
        if step in (5, 12):
            made.append(keys.add("a.example"))
            published.publish(*((key.name, key.public) for key in made))
        if step in (9, 16):
            keys.retire("a.example", made[-2].name.selector)
        for number in range(50):
            world.inject(_message(step, number))
        report = world.notify()
        told += report.notified
        assert report.notified == report.tried
        world.clock.now += 1800
    assert told == 1000
    assert used == {str(key.name) for key in made}
    assert inbox.state(world.b.agent.database, BOB).last_position == 1000


def _message(step: int, number: int) -> bytes:
    return MESSAGE.replace(b"hello", f"{step} {number}".encode())
