"""The keys that an address publishes, as lines of text (docs/protocol.md, section 11).

Signing keys stand in comments, ``# signs: ssh-ed25519 AAAA...``: a program that wants keys to seal
to, such as ``age -R``, passes them over.
"""

from collections.abc import Sequence

from xhmtp_wsgi.errors import MalformedSignature
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.ssh_signature import NAMESPACE, PublicKey

MAX_LINES = 200
_MARK = "# signs: "


def key_lines(keys: Sequence[PublicKey]) -> str:
    """The text that publishes these."""
    return "".join(f"{_MARK}{key.line()}\n" for key in keys)


def parse_key_lines(text: str) -> tuple[PublicKey, ...]:
    """The signing keys in such a text; what is not understood is passed over."""
    found = []
    for line in text.splitlines()[:MAX_LINES]:
        if line.startswith(_MARK):
            try:
                found.append(PublicKey.parse(line.removeprefix(_MARK)))
            except MalformedSignature:
                continue
    return tuple(found)


def allowed_signers(endpoint: Endpoint, keys: Sequence[PublicKey]) -> str:
    """As ``ssh-keygen -Y verify -f`` reads it."""
    return "".join(f'{endpoint} namespaces="{NAMESPACE}" {key.line()}\n' for key in keys)
