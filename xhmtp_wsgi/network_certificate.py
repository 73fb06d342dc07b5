"""The certificate that a host shows, valid or not: `xhmtp check` tells when it ends.

Security: nothing is sent over such a connection, and nothing is believed of what the certificate
says but to whom it is shown: to the operator whose host it is.
"""

import socket
import ssl
from dataclasses import dataclass

from xhmtp_wsgi.dns_resolver import Address
from xhmtp_wsgi.errors import ConnectionFailed


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says of itself; ``ends_at``: seconds since the epoch."""

    ends_at: float


def shown_certificate(address: Address, host: str, port: int, within: float) -> Certificate:
    """The certificate of a host at one of its addresses, within so many seconds.

    Raises ConnectionFailed.
    """
    from cryptography import x509

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((str(address), port), within) as connection,
            context.wrap_socket(connection, server_hostname=host) as secured,
        ):
            octets = secured.getpeercert(binary_form=True)
    except OSError as error:
        raise ConnectionFailed(f"{host} shows no certificate") from error
    if octets is None:
        raise ConnectionFailed(f"{host} shows no certificate")
    try:
        found = x509.load_der_x509_certificate(octets)
    except ValueError as error:
        raise ConnectionFailed(f"the certificate of {host} cannot be read") from error
    return Certificate(found.not_valid_after_utc.timestamp())
