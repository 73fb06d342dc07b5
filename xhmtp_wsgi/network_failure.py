"""What went wrong with a request, in the words of errors.py: urllib3's exceptions end here.

The text is shown to whoever sent the message, and tells no more than the other side's name and the
kind of failure. Only the network uses this.
"""

import errno
import http.client
import ssl

from urllib3 import exceptions

from xhmtp_wsgi.errors import ConnectionFailed, DeadlineExceeded, NotConnected, TLSFailed
from xhmtp_wsgi.network_connection import StaleConnection

FAILURES = (exceptions.HTTPError, http.client.HTTPException, OSError)
"""All that a request may raise, short of a fault of ours."""

_CERTIFICATE = {  # by OpenSSL's X509_V_ERR_ codes
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    18: "its certificate is self-signed",
    19: "its certificate's root is self-signed and not trusted",
    20: "its certificate's issuer is not known",
    21: "its certificate's issuer is not known",
    62: "its certificate is for another name",
}

_NO_CONNECTION: dict[int | None, str] = {
    errno.ECONNREFUSED: "refuses the connection",
    errno.EHOSTUNREACH: "cannot be reached: there is no route",
    errno.ENETUNREACH: "cannot be reached: there is no route",
}


def not_connected(error: BaseException | None) -> bool:
    """Was there no connection at all, so that another address may be tried?"""
    return isinstance(error, exceptions.NewConnectionError | exceptions.ConnectTimeoutError)


def is_stale(error: BaseException | None) -> bool:
    """Was it a kept-alive connection that had been closed, with no octet of an answer received?"""
    return error is not None and any(isinstance(one, StaleConnection) for one in error.args)


def failure_of(error: Exception, host: str) -> ConnectionFailed:
    """The error to raise for one of FAILURES."""
    if isinstance(error, exceptions.SSLError | ssl.SSLError):
        return TLSFailed(f"TLS with {host} failed: {_tls_reason(error)}")
    if isinstance(error, exceptions.NewConnectionError):
        number = error.__cause__.errno if isinstance(error.__cause__, OSError) else None
        return NotConnected(f"{host} {_NO_CONNECTION.get(number, 'cannot be connected to')}")
    if isinstance(error, exceptions.TimeoutError | TimeoutError):
        return DeadlineExceeded(f"{host} did not answer in time")
    cause = next((one for one in error.args if isinstance(one, Exception)), error)
    if isinstance(cause, http.client.RemoteDisconnected | ConnectionError):
        return ConnectionFailed(f"{host} ended the connection without an answer")
    if isinstance(cause, http.client.IncompleteRead | exceptions.IncompleteRead):
        return ConnectionFailed(f"{host} ended the connection before its answer was whole")
    return ConnectionFailed(f"the answer of {host} cannot be understood")


def _tls_reason(error: Exception) -> str:
    cause = next((one for one in error.args if isinstance(one, ssl.SSLError)), error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _CERTIFICATE.get(cause.verify_code, "its certificate is not valid")
    reason = getattr(cause, "reason", None) or ""
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return "it does not speak TLS there"
    if "VERSION" in reason or "PROTOCOL" in reason:
        return "no version of TLS in common"
    return "no agreement"
