"""HTTP Message Signatures over a notification: RFC 9421, Ed25519 (docs/protocol.md, section 6).

Verifying is http-message-signatures', and so is the signing of answers; requests are signed, for
speed, by request_signer.py: tests compare the two. What must be covered, by which kind of key, and
for how long, is settled here. Only Ed25519 exists: there is nothing to downgrade to. A signature is
made for one purpose, which its tag names, and passes for no other (response_signature.py has the
other one).

That library and cryptography are imported when first used: in a second sub-interpreter of mod_wsgi
they cannot be, and all that is not signed must still work there.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from xhmtp_wsgi.errors import MalformedAddress, MalformedSignature, SignatureInvalid
from xhmtp_wsgi.protocol.hostname import parse_hostname

LABEL = "xhmtp"
VALID_FOR = 300  # seconds that our signatures of notifications are good for
CLOCK_SKEW = 300  # seconds by which two clocks may differ
MAX_FIELD = 4096  # octets of Signature-Input and of Signature
_SELECTOR = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_RECORD_TAG = re.compile(r"\s*([a-z]+)\s*=\s*([^;]*?)\s*")


@dataclass(frozen=True, slots=True)
class KeyName:
    """The DNS name of a key record: ``SELECTOR._key._xhmtp.DOMAIN``."""

    selector: str
    domain: str

    @classmethod
    def parse(cls, text: str) -> "KeyName":
        """The name that a ``keyid`` is. Raises MalformedSignature."""
        selector, found, domain = text.removesuffix(".").lower().partition("._key._xhmtp.")
        try:
            if not found or not _SELECTOR.fullmatch(selector):
                raise MalformedSignature("keyid is not SELECTOR._key._xhmtp.DOMAIN")
            return cls(selector, parse_hostname(domain))
        except MalformedAddress:
            raise MalformedSignature("keyid names no domain") from None

    def __str__(self) -> str:
        return f"{self.selector}._key._xhmtp.{self.domain}"


@dataclass(frozen=True, slots=True)
class Purpose:
    """What signatures are made for, and what they must be like.

    ``tag`` tells it; ``covered`` are the least components; ours are good for ``valid_for`` seconds,
    and none is taken that says to be good for more than ``longest`` (``in_words``).
    """

    tag: str
    covered: tuple[str, ...]
    valid_for: int
    longest: int
    in_words: str


NOTIFICATION = Purpose(
    "xhmtp", ("@method", "content-type", "content-digest"), VALID_FOR, 600, "ten minutes"
)


@dataclass(slots=True)
class _Request:
    """A request as http-message-signatures wants it."""

    method: str
    url: str
    headers: dict[str, str]


def verify_request(
    *,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    public_key: bytes,
    now: float,
) -> None:
    """Verifies the signature of a POST. ``headers``: by name in lower case.

    Raises SignatureInvalid, saying why: a wrong key, too little covered, another body, too old.
    """
    request = _Request("POST", url, dict(headers))
    verify_message(request, NOTIFICATION, body=body, public_key=public_key, now=now)


def key_of(headers: Mapping[str, str], purpose: Purpose = NOTIFICATION) -> KeyName | None:
    """The key that a message says it is signed with; None where it bears no signature of ours.

    ``headers``: by name in lower case. Raises MalformedSignature.
    """
    given = headers.get("signature-input")
    if given is None or "signature" not in headers:
        return None
    if len(given) > MAX_FIELD or len(headers["signature"]) > MAX_FIELD:
        raise MalformedSignature("the signature is too long")
    import http_sf

    try:
        parsed: Any = http_sf.parse(given.encode("ascii"), tltype="dictionary")
        ours = [params for _, params in parsed.values() if params.get("tag") == purpose.tag]
    except Exception as error:
        # Whatever a parser raises for what strangers wrote, it is they who wrote it wrongly.
        raise MalformedSignature("Signature-Input is not a dictionary") from error
    if not ours:
        return None
    if len(ours) > 1:
        raise MalformedSignature(f"there are several signatures with the tag {purpose.tag}")
    name = ours[0].get("keyid")
    if not isinstance(name, str):
        raise MalformedSignature("the signature names no keyid")
    return KeyName.parse(name)


def sign_message(
    message: Any, purpose: Purpose, *, body: bytes, seed: bytes, name: KeyName, now: float
) -> None:
    """Adds the fields that sign a request or a response to its ``headers``.

    ``message``: as http-message-signatures wants it.
    """
    from http_message_signatures import HTTPMessageSigner
    from http_message_signatures.algorithms import ED25519

    signer = HTTPMessageSigner(signature_algorithm=ED25519, key_resolver=_key(seed=seed))
    signer.sign(
        message,
        key_id=str(name),
        created=datetime.fromtimestamp(int(now), UTC),
        expires=datetime.fromtimestamp(int(now) + purpose.valid_for, UTC),
        label=LABEL,
        tag=purpose.tag,
        include_alg=True,
        covered_component_ids=purpose.covered,
        body=body,
    )


def verify_message(
    message: Any, purpose: Purpose, *, body: bytes, public_key: bytes, now: float
) -> float:
    """Verifies the one signature for that purpose; returns when it expires, by the epoch.

    Raises SignatureInvalid, saying why.
    """
    from http_message_signatures.algorithms import ED25519
    from http_message_signatures.exceptions import HTTPMessageSignaturesException

    verifier = _verifier(purpose, now)(
        signature_algorithm=ED25519, key_resolver=_key(public=public_key)
    )
    try:
        (verified,) = verifier.verify(
            message,
            max_age=None,
            expect_tag=purpose.tag,
            require_components=purpose.covered,
            body=body,
        )
        return float(verified.parameters["expires"])
    except HTTPMessageSignaturesException as error:
        cause = error.args[0] if error.args else ""
        reason = str(cause) if isinstance(cause, str) and cause else "it is not by this key"
        raise SignatureInvalid(f"the signature does not verify: {reason[:200]}") from None
    except Exception as error:
        # Cryptography and the parser have many more of their own.
        raise SignatureInvalid("the signature does not verify: it is malformed") from error


def parse_key_record(octets: bytes) -> bytes | None:
    """The public key in a TXT record ``v=xhmtp1; k=ed25519; p=BASE64``; None if it is revoked.

    Tags that are not known are ignored. Raises MalformedSignature for another record.
    """
    tags: dict[str, str] = {}
    try:
        parts = octets.decode("ascii").split(";")
    except UnicodeDecodeError:
        raise MalformedSignature("the key record is not ASCII") from None
    for part in filter(str.strip, parts):
        found = _RECORD_TAG.fullmatch(part)
        if found is None or found[1] in tags:
            raise MalformedSignature("the key record is not a list of tags")
        tags[found[1]] = found[2]
    if tags.get("v") != "xhmtp1" or tags.get("k") != "ed25519" or "p" not in tags:
        raise MalformedSignature("the key record is not v=xhmtp1; k=ed25519; p=...")
    if not tags["p"]:
        return None
    try:
        key = base64.b64decode(tags["p"].replace(" ", ""), validate=True)
    except binascii.Error:
        raise MalformedSignature("the key record's p is not base64") from None
    if len(key) != 32 or key in _WEAK:
        raise MalformedSignature("the key record's p is not an Ed25519 key")
    return key


def key_record(public_key: bytes) -> str:
    """The content of the TXT record that publishes a key."""
    return f"v=xhmtp1; k=ed25519; p={base64.b64encode(public_key).decode()}"


# Points of small order, for which one signature verifies over many texts.
_WEAK = frozenset(
    bytes.fromhex(text)
    for text in (
        "00" * 32,
        "01" + "00" * 31,
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
        "00" * 31 + "80",
        "01" + "00" * 30 + "80",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    )
)


def _key(*, seed: bytes = b"", public: bytes = b"") -> Any:
    """One key, as the library asks for it; which one that is was settled before."""
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from http_message_signatures import HTTPSignatureKeyResolver

    class OneKey(HTTPSignatureKeyResolver):
        def resolve_private_key(self, key_id: str) -> Any:
            return ed25519.Ed25519PrivateKey.from_private_bytes(seed)

        def resolve_public_key(self, key_id: str) -> Any:
            return ed25519.Ed25519PublicKey.from_public_bytes(public)

    return OneKey()


def _verifier(purpose: Purpose, now: float) -> Any:
    """The library's verifier, by our clock and with our limits of time."""
    from http_message_signatures import HTTPMessageVerifier, InvalidSignature

    class Verifier(HTTPMessageVerifier):
        def validate_created_and_expires(self, sig_input: Any, max_age: Any = None) -> None:
            created, expires = sig_input.params.get("created"), sig_input.params.get("expires")
            if type(created) is not int or type(expires) is not int:
                raise InvalidSignature("it does not tell when it was made and when it expires")
            if not 0 <= expires - created <= purpose.longest:
                raise InvalidSignature(f"it is good for more than {purpose.in_words}")
            if created > now + CLOCK_SKEW:
                raise InvalidSignature("it is from the future: one of our clocks is wrong")
            if expires < now - CLOCK_SKEW:
                raise InvalidSignature("it has expired, or one of our clocks is wrong")

    return Verifier
