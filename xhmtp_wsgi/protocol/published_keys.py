"""The list of keys that an address publishes, as lines of text (docs/protocol.md, section 11).

    # keys of bob@b.example
    # signs: ssh-ed25519 AAAA...
    age1...

The first line says whose they are: nothing else binds a list to an address. Signing keys stand in
comments, so that a program that wants keys to seal to, such as ``age -R``, passes them over.

Security: what a stranger's agent lists is bounded, and what is not understood is passed over. Where
post-quantum keys stand beside others, only they are used: else the weaker would decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from xhmtp_wsgi.errors import MalformedAddress, MalformedKey, MalformedSignature
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.sealing import HYBRID, Recipient
from xhmtp_wsgi.protocol.ssh_signature import NAMESPACE, PublicKey

MAX_LINES = 200
MOST_SEALING = 10
"""Keys of one address that are sealed to: each costs some time and room in every message to it."""
_OWNER = "# keys of "
_SIGNS = "# signs: "


@dataclass(frozen=True, slots=True)
class KeyList:
    """What an address publishes.

    ``owner``: None where a list does not say, as those of older agents; ``signing``: the keys that
    he signs with; ``sealing``: those that messages to him are sealed to, all of one kind.
    """

    owner: Endpoint | None
    signing: tuple[PublicKey, ...] = ()
    sealing: tuple[Recipient, ...] = ()

    @classmethod
    def parse(cls, octets: bytes) -> "KeyList":
        """Reads a list of anybody's. Raises nothing: what is not understood is passed over."""
        # As age reads it: a line ends at LF and nowhere else.
        lines = octets.decode("utf-8", "replace").split("\n", MAX_LINES)[:MAX_LINES]
        stripped = [line.strip(" \t\r") for line in lines]
        return cls(_owner(stripped[0]), _signing(stripped), _sealing(stripped))

    def text(self) -> str:
        """The list as it is published."""
        lines = [] if self.owner is None else [f"{_OWNER}{self.owner}"]
        lines += [f"{_SIGNS}{key.line()}" for key in self.signing]
        lines += [str(recipient) for recipient in self.sealing]
        return "".join(f"{line}\n" for line in lines)


def fingerprint(recipient: Recipient) -> str:
    """A key to seal to, short enough to be compared by eye."""
    text = str(recipient)
    short = f"{text[:16]}...{text[-6:]}"
    return f"{short} (post-quantum)" if recipient.kind == HYBRID else short


def allowed_signers(endpoint: Endpoint, keys: Sequence[PublicKey]) -> str:
    """As ``ssh-keygen -Y verify -f`` reads it."""
    return "".join(f'{endpoint} namespaces="{NAMESPACE}" {key.line()}\n' for key in keys)


def _owner(line: str) -> Endpoint | None:
    if not line.startswith(_OWNER):
        return None
    try:
        return Endpoint.parse(line.removeprefix(_OWNER))
    except MalformedAddress:
        return None


def _signing(lines: Sequence[str]) -> tuple[PublicKey, ...]:
    found = []
    for line in lines:
        if line.startswith(_SIGNS):
            try:
                found.append(PublicKey.parse(line.removeprefix(_SIGNS)))
            except MalformedSignature:
                continue
    return tuple(dict.fromkeys(found))


def _sealing(lines: Sequence[str]) -> tuple[Recipient, ...]:
    found = []
    for line in lines:
        # What does not begin so is a comment, or a key that only other programs know.
        if line.startswith("age1"):
            try:
                found.append(Recipient.parse(line))
            except MalformedKey:
                continue
    strongest = [one for one in found if one.kind == HYBRID] or found
    return tuple(dict.fromkeys(strongest))[:MOST_SEALING]
