"""A private SSH key with which an author signs; its passphrase is asked for once."""

import secrets

from xhmtp_wsgi.commands.asking import asked
from xhmtp_wsgi.errors import MalformedSignature
from xhmtp_wsgi.protocol.signed_message import sign_message
from xhmtp_wsgi.protocol.ssh_signature import sign as ssh_sign


class AuthorKey:
    """The key, as it stands in a file."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._passphrase: bytes | None = None

    def signed(self, message: bytes) -> bytes:
        """The message, signed. Raises MalformedMessage, MalformedSignature or NoTerminal."""
        if b"\r" not in message:
            message = message.replace(b"\n", b"\r\n")
        if self._passphrase is None and self._is_locked():
            self._passphrase = asked("Passphrase of the key that signs").encode()
        return sign_message(
            message,
            lambda octets: ssh_sign(self._octets, self._passphrase, octets),
            secrets.token_hex(16),
        )

    def _is_locked(self) -> bool:
        if b"ENCRYPTED" in self._octets:
            return True
        try:
            ssh_sign(self._octets, None, [b""])
        except MalformedSignature:
            return True
        return False
