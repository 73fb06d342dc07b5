"""A table of hostile notifications: each with its answer, and the database before and after."""

import unicodedata
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode
from xml.dom import minidom

import pytest

from tests.test_signature import FORM, NAME, Published, public, signed
from tests.world import BOB, ZONE, World, call
from xhmtp_wsgi.protocol.signature import KeyName, key_record
from xhmtp_wsgi.recipient import inbox
from xhmtp_wsgi.setting_types import networks

ID = "abcdefghijklmnopqrstuvwxyz"
RIGHT, WRONG, PROXY1, PROXY2 = "192.0.2.1", "192.0.2.66", "10.0.0.1", "10.0.0.2"
OTHER_KEY = KeyName("k1", "mallory.example")
REVOKED = KeyName("gone", "a.example")
EXTRA = (
    "mallory.example. 60 A 192.0.2.66\n"
    "_xhmtp._tcp.mallory.example. 60 SRV 0 0 80 mallory.example.\n"
    '_prefix._xhmtp.mallory.example. 60 TXT "xhmtp"\n'
    "cheryl.example. 60 A 192.0.2.1\n"
)


def url(
    scheme: str = "http",
    user: str = "bob%40b.example",
    code: str = ":S3CRETC0DE",
    host: str = "server.a.example",
    path: str = f"/xhmtp/alice/{ID}",
    tail: str = "",
) -> str:
    return f"{scheme}://{user}{code}@{host}{path}{tail}"


def form(link: str | None = None, headers: str = "From: alice@a.example\r\n") -> bytes:
    return urlencode({"url": url() if link is None else link, "headers": headers}).encode()


def send(
    world: World,
    body: bytes,
    address: str = RIGHT,
    fields: Mapping[str, str] | None = None,
    to: str = "bob@b.example",
) -> Any:
    given = dict(fields or {})
    content_type = given.pop("content-type", FORM)
    return call(
        world.b, f"/in/box/{to}", method="POST", body=body, headers=given,
        content_type=content_type, address=address,
    )  # fmt: skip


Case = Callable[[World], Any]
CASES: dict[str, tuple[int, Case]] = {}


def case(name: str, answer: int, what: Case) -> None:
    assert name not in CASES
    CASES[name] = (answer, what)


# Origins, through 0, 1 and 2 trusted proxies

for trusted, chain in (("", []), (PROXY1, [PROXY1]), (f"{PROXY1} {PROXY2}", [PROXY2, PROXY1])):
    hops = len(chain)
    # Who connects to us last, and what the trusted ones before him have written down.
    peer = chain[-1] if chain else None

    def through(
        real: str, forged: str, chain: list[str] = chain, trusted: str = trusted
    ) -> Callable[[World], Any]:
        def run(world: World) -> Any:
            object.__setattr__(world.b.agent.settings, "trusted_proxies", networks(trusted))
            written = [part for part in (forged, real, *chain[:-1]) if part] if chain else [forged]
            header = {"X-Forwarded-For": ", ".join(part for part in written if part)}
            fields = header if header["X-Forwarded-For"] else {}
            return send(world, form(), chain[-1] if chain else real, fields)

        return run

    case(f"right origin through {hops} proxies", 201, through(RIGHT, ""))
    case(f"forged origin through {hops} proxies", 403, through(WRONG, ""))
    case(f"forged X-Forwarded-For through {hops} proxies", 403, through(WRONG, RIGHT))
    case(f"a list of them through {hops} proxies", 403, through(WRONG, f"{RIGHT}, {RIGHT}"))
    case(f"nonsense in it through {hops} proxies", 403, through(WRONG, f"x, {RIGHT}, ,"))
    case(f"a right origin is not harmed through {hops} proxies", 201, through(RIGHT, WRONG))

for name, field in {
    "Forwarded": f"for={RIGHT}",
    "X-Real-IP": RIGHT,
    "X-Client-IP": RIGHT,
    "True-Client-IP": RIGHT,
    "X-Forwarded-Host": "server.a.example",
    "Via": RIGHT,
}.items():
    case(f"{name} is not believed", 403,
         lambda w, n=name, f=field: send(w, form(), WRONG, {n: f}))  # type: ignore[misc] # fmt: skip


# Signatures, always from the wrong address


def by_signature(
    change: Callable[[dict[str, str], bytes], tuple[Mapping[str, str], bytes]],
) -> Case:
    def run(world: World) -> Any:
        _publish(world)
        body = form()
        fields, changed = change(signed(body), body)
        return send(world, changed, WRONG, fields)

    return run


def _publish(world: World) -> None:
    world.resolver.set_zone(
        ZONE + EXTRA
        + f'{NAME}. 60 TXT "{key_record(public())}"\n'
        + f'{OTHER_KEY}. 60 TXT "{key_record(public())}"\n'
        + f'{REVOKED}. 60 TXT "v=xhmtp1; k=ed25519; p="\n'
        + f'twice._key._xhmtp.a.example. 60 TXT "{key_record(public())}"\n'
        + f'twice._key._xhmtp.a.example. 60 TXT "{key_record(public(bytes(31) + b"x"))}"\n'
        + 'rsa._key._xhmtp.a.example. 60 TXT "v=xhmtp1; k=rsa; p=AAAA"\n'
    )  # fmt: skip


def named(name: KeyName) -> Case:
    return by_signature(lambda fields, body: (signed(body, name=name), body))


def edited(field: str, old: str, new: str) -> Case:
    return by_signature(
        lambda fields, body: ({**fields, field: fields[field].replace(old, new)}, body)
    )


case("a good signature", 201, by_signature(lambda fields, body: (fields, body)))
case("no signature", 403, by_signature(lambda fields, body: ({}, body)))
case("a wrong key", 401, by_signature(lambda f, body: (signed(body, seed=bytes(32)), body)))
case("an expired one", 401, by_signature(lambda f, body: (signed(body, now=1.8e9 - 700), body)))
case("one of the future", 401, by_signature(lambda f, body: (signed(body, now=1.8e9 + 400), body)))
case("a revoked key", 401, named(REVOKED))
case("another domain's key", 401, named(OTHER_KEY))
case("a key that is not there", 401, named(KeyName("none", "a.example")))
case("a key with two records", 401, named(KeyName("twice", "a.example")))
case("a key of another kind", 401, named(KeyName("rsa", "a.example")))
case("a changed octet", 401, by_signature(lambda f, body: (f, body.replace(b"alice", b"alicf"))))
case("an octet more", 401, by_signature(lambda f, body: (f, body + b"&x=y")))
case("too little covered", 401, edited("signature-input", '"@method" ', ""))
case("no digest covered", 401, edited("signature-input", ' "content-digest"', ""))
case(
    "nothing covered",
    401,
    edited("signature-input", '"@method" "content-type" "content-digest"', ""),
)
case("a keyid that is no key's name", 401, edited("signature-input", "_key._xhmtp.", "_dkim."))
case("a keyid that names the loopback", 401, edited("signature-input", "a.example", "127.0.0.1"))
case("another algorithm", 401, edited("signature-input", "ed25519", "rsa-pss-sha512"))
case("no algorithm but HMAC", 401, edited("signature-input", "ed25519", "hmac-sha256"))
case("two of our tag", 401, by_signature(lambda f, body: ({
    **f, "signature-input": f["signature-input"] + ", y" + f["signature-input"][1:],
    "signature": f["signature"] + ", y" + f["signature"][1:]}, body)))  # fmt: skip
case("another tag only", 403, edited("signature-input", 'tag="xhmtp"', 'tag="web"'))
case("nonsense for a signature", 401, by_signature(
    lambda f, body: ({**f, "signature": "xhmtp=:!:", "signature-input": "((("}, body)))  # fmt: skip
case("a signature of 5,000 octets", 401, by_signature(
    lambda f, body: ({**f, "signature": "xhmtp=:" + "A" * 5000 + ":"}, body)))  # fmt: skip
case("another content type", 415, by_signature(
    lambda f, body: ({**f, "content-type": "text/plain"}, body)))  # fmt: skip
case("signed for another host's message", 403, by_signature(
    lambda f, body: _resigned(form(url(host="cheryl.example")))))  # fmt: skip
case("signed for a message outside the prefix", 403, by_signature(
    lambda f, body: _resigned(form(url(path=f"/other/alice/{ID}")))))  # fmt: skip
case("signed, and From is another's", 401, by_signature(
    lambda f, body: _resigned(form(headers="From: eve@mallory.example\r\n"))))  # fmt: skip
case("replayed for another recipient", 400, lambda w: _replayed(w))


def _resigned(body: bytes) -> tuple[Mapping[str, str], bytes]:
    return signed(body), body


def _replayed(world: World) -> Any:
    _publish(world)
    world.b.agent.accounts.add(type(BOB).parse("cheryl@b.example"), None)
    body = form()
    return send(world, body, WRONG, signed(body), to="cheryl@b.example")


# URLs

for name, link in {
    "another recipient": url(user="cheryl%40b.example"),
    "no recipient": "http://:S3CRETC0DE@server.a.example/xhmtp/alice/" + ID,
    "no code": url(code=""),
    "an empty code": url(code=":"),
    "file:": "file:///etc/passwd",
    "ftp:": url(scheme="ftp"),
    "javascript:": "javascript:alert(1)",
    "data:": "data:text/html,x",
    "a fragment": url(tail="#x"),
    "a query": url(tail="?x=y"),
    "dot segments": url(path="/xhmtp/../admin"),
    "encoded dot segments": url(path="/xhmtp/%2e%2e/admin"),
    "an encoded slash": url(path="/xhmtp/alice%2fbob"),
    "a backslash": url(path="/xhmtp\\alice"),
    "an address for a host": url(host="192.0.2.1"),
    "a number for a host": url(host="2130706433"),
    "hexadecimal for a host": url(host="0x7f000001"),
    "an octal label": url(host="0177.0.0.1"),
    "an IPv6 host": url(host="[::1]"),
    "another script's digits": url(host="①②⑦.0.0.1"),
    "a port of 0": url(host="server.a.example:0"),
    "a port of 65536": url(host="server.a.example:65536"),
    "two at signs": url(host="x@server.a.example"),
    "a line end": url(path="/xhmtp/alice/\r\nX: y"),
    "a NUL": url(path="/xhmtp/alice/%00"),
    "a blank": url(path="/xhmtp/al ice/x"),
    "bidi in the path": url(path="/xhmtp/%E2%80%AEalice/x"),
    "5,000 octets": url(path="/" + "x" * 5000),
    "nothing": "",
}.items():
    case(f"a URL with {name}", 400, lambda w, link=link: send(w, form(link)))  # type: ignore[misc]
case("another host's URL", 403, lambda w: send(w, form(url(host="server.b.example"))))


# Header blocks

for name, block in {
    "a bare CR": "From: alice@a.example\rX-Evil: y\r\n",
    "a bare LF": "From: alice@a.example\nX-Evil: y\n",
    "a NUL": "Subject: a\0b\r\n",
    "an escape": "Subject: \x1b[31m\r\n",
    "a vertical tab": "Subject: a\x0bb\r\n",
    "a line without colon": "From: alice@a.example\r\nnothing\r\n",
    "a blank line": "From: alice@a.example\r\n\r\nbody\r\n",
    "a fold at first": " From: alice@a.example\r\n",
    "two Froms": "From: alice@a.example\r\nFrom: eve@a.example\r\n",
    "two authors": "From: alice@a.example, eve@a.example\r\n",
    "a From that is none": "From: nobody\r\n",
    "a line of 5,000": "Subject: " + "x" * 5000 + "\r\n",
    "a next-line character": "Subject: a\x85b\r\n",
    "a paragraph separator": "Subject: a\u2029b\r\n",
    "a name with a blank": "Sub ject: x\r\n",
    "a length that is none": "Content-Length: -1\r\n",
    "a digest that is none": "Repr-Digest: sha-256=:x:\r\n",
}.items():
    case(f"a header block with {name}", 400,
         lambda w, block=block: send(w, form(headers=block)))  # type: ignore[misc] # fmt: skip
case("17 KiB of header", 413, lambda w: send(w, form(headers=("X: " + "y" * 900 + "\r\n") * 19)))
case("70 KiB of body", 413, lambda w: send(w, form(headers="X: " + "%0A" * 24_000)))
case("no form", 400, lambda w: send(w, b"\xff\xfe"))
case("a field twice", 400, lambda w: send(w, form() + b"&" + form()))
case("no fields", 400, lambda w: send(w, b"x=y"))
case("100 fields", 400, lambda w: send(w, form() + b"&a=b" * 100))
case("a bad escape", 400, lambda w: send(w, b"url=%zz&headers="))
case(
    "a name that nobody has",
    404,
    lambda w: send(w, form(url(user="x%40b.example")), to="x@b.example"),
)
case("a domain that is not ours", 421, lambda w: send(w, form(), to="bob@other.example"))


# What is taken, and must show harmlessly

SHOWN = {
    "markup": "Subject: </title><script>alert(1)</script>&\r\n",
    "a CDATA end": "Subject: ]]></description>\r\n",
    "an entity": "Subject: &xxe; &#0; &#x1b;\r\n",
    "a noncharacter": "Subject: =?utf-8?q?=EF=BF=BE?=\r\n",
    "a surrogate": "Subject: =?utf-8?q?=ED=A0=80?=\r\n",
    "controls, encoded": "Subject: =?utf-8?q?=00=01=1B[31m?=\r\n",
    "line ends, encoded": "Subject: =?utf-8?q?a=0D=0AX-Evil:_y?=\r\n",
    "text turned around": "From: =?utf-8?q?=E2=80=AEecila?= <alice@a.example>\r\n",
    "isolates": "Subject: =?utf-8?q?=E2=81=A6x=E2=81=A9?=\r\n",
    "zero width": "Subject: a\u200bb\ufeffc\r\n",
    "a homograph": "From: =?utf-8?q?=D0=B0lice?= <alice@a.example>\r\n",
    "another's name": 'From: "bob@b.example" <alice@a.example>\r\n',
    "an unknown charset": "Subject: =?x-nothing?q?hello?=\r\n",
    "broken encoding": "Subject: =?utf-8?b?!!!?= =?utf-8?q?=?=\r\n",
    "tags of a language": "Subject: a\U000e0061b\r\n",
    "a long subject": "".join(["Subject: x", *["\r\n " + "y" * 900] * 10, "\r\n"]),
}
for name, block in SHOWN.items():
    case(f"shown: {name}", 201, lambda w, b=block: send(w, form(headers=b)))  # type: ignore[misc]


def test_the_table_has_eighty_cases_and_more():
    assert len(CASES) >= 120


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_notification_gets_its_answer_and_leaves_no_more(sqlite_world: World, name: str):
    world = sqlite_world
    world.resolver.set_zone(ZONE + EXTRA)
    answer_wanted, what = CASES[name]
    before = world.rows(world.b.agent)
    if name == "replayed for another recipient":
        before["account"] += 1
    answer = what(world)
    assert answer.status_int == answer_wanted, answer.text
    after = world.rows(world.b.agent)
    if answer_wanted == 201:
        for table in ("notice", "mailbox", "search_entry"):
            assert after.pop(table) == 1
            del before[table]
    else:
        assert answer.content_type == "application/problem+json"
        assert answer.json["status"] == answer_wanted
        assert answer.json["detail"]
        assert "S3CRETC0DE" not in answer.text
    assert after == before


@pytest.mark.parametrize("name", SHOWN)
def test_what_strangers_write_shows_harmlessly(sqlite_world: World, name: str):
    world = sqlite_world
    assert send(world, form(headers=SHOWN[name])).status_int == 201
    feed = world.feed()
    document = minidom.parseString(feed.body)
    (item,) = document.getElementsByTagName("item")
    for tag in ("title", "description", "dc:creator", "author"):
        for element in item.getElementsByTagName(tag):
            text = "".join(getattr(child, "data", "") for child in element.childNodes)
            assert all(child.nodeType == child.TEXT_NODE for child in element.childNodes)
            for character in text.replace("\n", ""):
                assert unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp"), text
                assert character not in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    if name in ("a homograph", "another's name"):
        assert "alice@a.example" in feed.text, "the address itself is always shown"
    assert len(inbox.page(world.b.agent.database, BOB, newest=9, limit=9)) == 1


def test_the_same_signed_octets_again_change_nothing(sqlite_world: World):
    Published(sqlite_world).publish((NAME, public()))
    body = form()
    fields = signed(body)
    assert send(sqlite_world, body, WRONG, fields).status_int == 201
    before = sqlite_world.rows(sqlite_world.b.agent)
    assert send(sqlite_world, body, WRONG, fields).status_int == 200
    assert sqlite_world.rows(sqlite_world.b.agent) == before


def test_a_signature_may_cover_where_it_was_sent_to(sqlite_world: World):
    """docs/protocol.md, section 6: @target-uri may be covered too; another host's is refused."""
    from http_message_signatures import HTTPMessageSigner
    from http_message_signatures.algorithms import ED25519

    from xhmtp_wsgi.protocol import signature

    Published(sqlite_world).publish((NAME, public()))
    body = form()
    for target, answer in (
        ("http://localhost/in/box/bob%40b.example", 201),
        ("http://localhost/in/box/eve%40b.example", 401),
    ):
        request = signature._Request("POST", target, {"Content-Type": FORM})
        signer = HTTPMessageSigner(
            signature_algorithm=ED25519,
            key_resolver=signature._key(seed=bytes(range(32))),
        )
        from datetime import UTC, datetime

        signer.sign(
            request, key_id=str(NAME), created=datetime.fromtimestamp(1.8e9, UTC),
            expires=datetime.fromtimestamp(1.8e9 + 60, UTC), tag="xhmtp", body=body,
            covered_component_ids=("@method", "@target-uri", "content-type"),
        )  # fmt: skip
        fields = {name.lower(): value for name, value in request.headers.items()}
        fields["host"] = "localhost"
        answered = send(sqlite_world, body, WRONG, fields)
        assert answered.status_int in (answer, 200 if answer == 201 else answer), answered.text
