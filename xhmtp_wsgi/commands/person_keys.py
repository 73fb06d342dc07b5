"""A person's keys, for `xhmtp key`: to sign with (SSH), to seal to (age), for mail (OpenPGP).

Which of them a file holds is found out by what stands in it.

Security: of a secret key nothing is stored or printed. From an age identity the public half is
made; any other secret key is refused.
"""

from collections.abc import Iterator, Sequence
from typing import BinaryIO

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.commands.wording import table
from xhmtp_wsgi.errors import MalformedKey, NotFound
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.mime_parts import harmless
from xhmtp_wsgi.protocol.openpgp_key import KEEP_TO_YOURSELF, MAX_UPLOAD, OpenPGPKey
from xhmtp_wsgi.protocol.published_keys import fingerprint
from xhmtp_wsgi.protocol.sealing import HYBRID, Recipient, parse_identities, parse_recipients
from xhmtp_wsgi.protocol.ssh_signature import PublicKey
from xhmtp_wsgi.protocol.web_key import direct_url
from xhmtp_wsgi.sender import author_keys, openpgp_keys, sealing_keys

SIGNS, SEALED_TO, OPENPGP = "signs", "sealed to", "OpenPGP"
_SECRET_AGE, _PUBLIC_AGE = "AGE-SECRET-KEY-", "age1"


def person(agent: Agent, address: str) -> Endpoint:
    """The endpoint of somebody who has an account here. Raises NotFound."""
    endpoint = Endpoint.parse(address).canonical
    if agent.accounts.find(endpoint) is None:
        raise NotFound(f"{endpoint} has no account here")
    return endpoint


def add(agent: Agent, endpoint: Endpoint, file: BinaryIO, *, replace: bool) -> Iterator[str]:
    """Publishes the key in a file; what is to be said of it.

    ``replace``: in place of the others that messages are sealed to. Raises MalformedKey,
    MalformedSignature, Duplicate, Forbidden or MixedKeys.
    """
    octets = file.read(MAX_UPLOAD + 1)
    if octets[:1] >= b"\x80" or b"-----BEGIN PGP " in octets:
        yield from _add_openpgp(agent, endpoint, octets)
        return
    text = octets.decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines()]
    if any(line.upper().startswith(_SECRET_AGE) for line in lines):
        yield from _add_identities(agent, endpoint, text, replace=replace)
    elif any(line.lower().startswith(_PUBLIC_AGE) for line in lines):
        yield from seal_to(agent, endpoint, parse_recipients(text), replace=replace)
    elif text.startswith(("age-encryption.org/", "-----BEGIN AGE ")):
        raise MalformedKey(
            "that is sealed with a passphrase; hand in the public key that is in it: "
            "age -d FILE | grep -o 'age1.*'"
        )
    elif "PRIVATE KEY" in text:
        raise MalformedKey(KEEP_TO_YOURSELF)
    else:
        key = PublicKey.parse(text)
        author_keys.add_key(agent.database, endpoint, key, agent.clock())
        yield f"{endpoint} signs with {key.fingerprint()}"


def seal_to(
    agent: Agent, endpoint: Endpoint, recipients: Sequence[Recipient], *, replace: bool
) -> Iterator[str]:
    """Publishes keys to seal to. Raises as ``sealing_keys.publish`` does."""
    made = sealing_keys.publish(
        agent.database, endpoint, recipients, agent.clock(), replace=replace
    )
    for recipient in made:
        yield f"messages to {endpoint} are sealed to {fingerprint(recipient)}"


def listed(agent: Agent, endpoint: Endpoint) -> Iterator[str]:
    """All that an address publishes, and what each is for."""
    rows = [
        (SIGNS, f"{key.fingerprint()}  {key.line()}")
        for key in author_keys.keys_of(agent.database, endpoint)
    ]
    rows += [
        # A post-quantum key has 2000 characters.
        (SEALED_TO, fingerprint(one) if one.kind == HYBRID else str(one))
        for one in sealing_keys.recipients_of(agent.database, endpoint)
    ]
    key = openpgp_keys.get(agent.database, endpoint)
    if key is not None:
        rows.append((OPENPGP, key.fingerprint))
    if not rows:
        yield f"{endpoint} publishes no key; 'xhmtp key add {endpoint} FILE' publishes one"
        return
    yield from table(("FOR", "KEY"), rows)


def retire(agent: Agent, endpoint: Endpoint, key: str) -> None:
    """Publishes a key no more. ``key``: as ``listed`` shows it. Raises NotFound."""
    if key.startswith("SHA256:"):
        author_keys.remove_key(agent.database, endpoint, key)
    elif key.lower().startswith(_PUBLIC_AGE):
        sealing_keys.remove(agent.database, endpoint, key.lower().partition("...")[0])
    else:
        openpgp_keys.remove(agent.database, endpoint, key)


def _add_identities(agent: Agent, endpoint: Endpoint, text: str, *, replace: bool) -> Iterator[str]:
    recipients = [identity.recipient for identity in parse_identities(text)]
    yield from seal_to(agent, endpoint, recipients, replace=replace)
    yield "the file holds the secret key as well: that was not stored"


def _add_openpgp(agent: Agent, endpoint: Endpoint, octets: bytes) -> Iterator[str]:
    key = OpenPGPKey.parse(octets)
    openpgp_keys.put(agent.database, endpoint, key, agent.clock())
    yield f"the OpenPGP key of {endpoint} is {key.fingerprint}"
    names = [" ".join(harmless(user_id).split()) for user_id in key.user_ids]
    yield f"everybody may read the names in it: {'; '.join(names)[:1000]}"
    if agent.settings.domains[endpoint.domain].web_key_directory:
        yield f"it is found at {direct_url(endpoint)}"
    else:
        yield (f"nobody finds it yet: the setting web_key_directory of {endpoint.domain} is not on")
