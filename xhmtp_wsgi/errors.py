"""Everything that can go wrong, as one tree: two families, by what one can do about it.

    XHMTPError
    ├── Permanent                  the same again will fail again
    │   ├── Malformed              what was handed in is not well-formed
    │   │   ├── MalformedAddress
    │   │   ├── MalformedKey       a key to seal to, the secret one, or an OpenPGP key
    │   │   ├── MalformedMessage
    │   │   ├── MalformedMessageURL
    │   │   ├── MalformedNotification
    │   │   ├── MalformedPrefix
    │   │   ├── MalformedRequest   the HTTP around it
    │   │   ├── MalformedSeal      no age file, or one whose header is broken
    │   │   └── MalformedSignature
    │   ├── TooLarge               over a limit, which it names
    │   ├── TooManyNotifications   more in one batch than are taken at once
    │   ├── LengthRequired         a body whose end cannot be known
    │   ├── UnsupportedType        not a media type that this resource takes
    │   ├── NotAuthenticated       no credentials, or not the right ones
    │   ├── SignatureInvalid       a signature that does not verify
    │   ├── NotSealedToThese       a sealed message that none of these keys opens
    │   ├── SealBroken             a sealed message that was changed or cut
    │   ├── MixedKeys              post-quantum and other keys for one sealed file
    │   ├── Forbidden              refused by policy or by a check
    │   ├── NotFound               no such resource, or no such recipient
    │   ├── MethodNotAllowed
    │   ├── Gone                   was here, is withdrawn or expired
    │   ├── Moved                  the inbox is at another agent, whose URL for it this names
    │   ├── Misdirected            this agent does not act for that domain
    │   ├── Unprocessable          well-formed, but it means nothing here
    │   ├── ImpossibleRecipients   names each recipient that cannot be, with the reason
    │   ├── NoService              the DNS says that a domain takes no messages
    │   ├── BadDomain              a domain's records are in error
    │   ├── AddressRefused         a host's address is one that must not be connected to
    │   ├── Duplicate              it exists already
    │   └── SettingsError          names the setting, and how to mend it
    └── Transient                  the same again may succeed later
        ├── DNSUnavailable         no answer, or SERVFAIL
        ├── ConnectionFailed       refused, reset, no route, an answer cut short
        │   ├── NotConnected       nobody there: nothing was asked
        │   ├── DeadlineExceeded   too slow
        │   ├── Downgrade          had TLS once, and now names no agent with it
        │   ├── Unvouched          nothing but the DNS says that it is their agent
        │   └── TLSFailed          names what is wrong with the certificate
        ├── OwnDomainInError       our own records must be mended before anybody can be told
        ├── DatabaseUnavailable    locked, gone, or not reachable
        │   └── SchemaOutdated     `xhmtp db upgrade` mends it
        ├── TooMany                over a rate; says when it may be tried again
        └── StorageFull            no room on the disk, or a quota used up

The text of an error is meant for the person who caused it: it never holds an access code, a
password or a message's text. HTTP codes are given to these in one table, in responses.py.
"""

from collections.abc import Mapping


class XHMTPError(Exception):
    """The root. ``str(error)`` is one line, fit to be shown to whoever caused it."""


class Permanent(XHMTPError):
    """The same again will fail again."""


class Malformed(Permanent):
    """What was handed in is not well-formed; the text says where."""


class MalformedAddress(Malformed):
    """Not an endpoint's address."""


class MalformedMessage(Malformed):
    """Not an RFC 5322 message, or not one that can be passed on unchanged."""


class MalformedMessageURL(Malformed):
    """Not the URL of a message with a recipient's access code."""


class MalformedNotification(Malformed):
    """Not a notification form, or its header block is not one."""


class MalformedPrefix(Malformed):
    """Not a path prefix."""


class MalformedKey(Malformed):
    """Not a key to seal to, nor the secret one that opens, nor an OpenPGP key."""


class MalformedSeal(Malformed):
    """Not an age file, or one whose header or armour is broken."""


class MalformedRequest(Malformed):
    """The HTTP request around it is not well-formed."""


class MalformedSignature(Malformed):
    """Not a signature, a key, or a key record, of a form that is known here."""


class TooLarge(Permanent):
    """Over a limit."""

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"{what} is larger than the {limit} octets that are taken here")
        self.limit = limit


class TooManyNotifications(Permanent):
    """More notifications in one batch than are taken at once."""

    def __init__(self, given: int, most: int) -> None:
        super().__init__(f"the batch has {given} notifications; {most} are taken at once")
        self.most = most


class LengthRequired(Permanent):
    """The body has no Content-Length, and this server does not pass on where it ends."""


class UnsupportedType(Permanent):
    """The body's media type is not one that this resource takes."""


class NotAuthenticated(Permanent):
    """No credentials, or wrong ones; always the same text, so that it tells nothing."""


class SignatureInvalid(Permanent):
    """A signature does not verify; the text says why. A clock or the DNS may be at fault."""


class NotSealedToThese(Permanent):
    """A sealed message that none of these keys opens."""


class SealBroken(Permanent):
    """A sealed message that was changed, or cut; the text says where."""


class MixedKeys(Permanent):
    """One sealed file cannot be for post-quantum keys and for others: the weaker would decide."""


class Forbidden(Permanent):
    """Refused by policy, or by a check."""


class NotFound(Permanent):
    """No such resource."""


class MethodNotAllowed(Permanent):
    """The resource does not answer this method; ``allowed`` are those it does."""

    def __init__(self, method: str, allowed: tuple[str, ...]) -> None:
        super().__init__(f"{method} is not answered here, only {', '.join(allowed)}")
        self.allowed = allowed


class Gone(Permanent):
    """It was here, and has been withdrawn or has expired."""


class Moved(Permanent):
    """The inbox is at another agent: ``location`` is its URL there (RFC 9110, section 15.4.9)."""

    def __init__(self, text: str, location: str) -> None:
        super().__init__(text)
        self.location = location


class Misdirected(Permanent):
    """This agent does not act for that domain (RFC 9110, section 15.5.20)."""


class Unprocessable(Permanent):
    """Well-formed, but it means nothing here; the text says what (RFC 9110, section 15.5.21)."""


class ImpossibleRecipients(Permanent):
    """Recipients that cannot be; ``reasons`` has a line for each, by address as written."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        listed = "; ".join(f"{address}: {reason}" for address, reason in list(reasons.items())[:5])
        more = f"; and {len(reasons) - 5} more" if len(reasons) > 5 else ""
        super().__init__(f"nothing was sent: {listed}{more}")
        self.reasons = dict(reasons)


class NoService(Permanent):
    """The DNS says that a domain takes no messages, or that there is no such domain."""


class BadDomain(Permanent):
    """A domain's records are in error, and only its owner can mend them."""


class AddressRefused(Permanent):
    """A host's address is one that must not be connected to."""


class Duplicate(Permanent):
    """It exists already."""


class SettingsError(Permanent):
    """A setting is wrong; ``setting`` names it as it is written in xhmtp.toml."""

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting


class Transient(XHMTPError):
    """The same again may succeed later.

    ``retry_after`` is the other side's wish in seconds, where it told one.
    """

    retry_after: float | None = None


class DNSUnavailable(Transient):
    """The DNS gave no answer: a time-out, SERVFAIL, or no name server reached."""


class ConnectionFailed(Transient):
    """No connection, or one that ended before the answer was whole."""


class NotConnected(ConnectionFailed):
    """There was no connection at all, so that nothing was asked."""


class DeadlineExceeded(ConnectionFailed):
    """The other side was too slow."""


class Downgrade(ConnectionFailed):
    """A domain that was reached over TLS names no agent with it any more."""


class Unvouched(ConnectionFailed):
    """Nothing but the DNS says that a host is an agent of a domain, and the sender's wants more."""


class TLSFailed(ConnectionFailed):
    """TLS could not be agreed upon; the text names what is wrong with the certificate."""


class OwnDomainInError(Transient):
    """Our own domain's records are in error: nobody can be told where its messages are."""

    def __init__(self, domain: str, error: XHMTPError) -> None:
        super().__init__(
            f"nobody is told of messages from {domain}, as its own records do not say "
            f"where it is reached: {error}"
        )
        self.domain = domain


class DatabaseUnavailable(Transient):
    """The database is locked, gone, or not reachable.

    ``reason``: the driver's words, for the operator alone.
    """

    def __init__(self, text: str, reason: str = "") -> None:
        super().__init__(text)
        self.reason = reason


class SchemaOutdated(DatabaseUnavailable):
    """The tables are older or newer than this program; ``xhmtp db upgrade`` mends the former."""


class TooMany(Transient):
    """More than is taken in a time; ``retry_after`` says when again."""

    def __init__(self, text: str, retry_after: float) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class StorageFull(Transient):
    """No room on the disk, or a quota used up."""
