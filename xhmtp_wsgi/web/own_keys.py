"""``settings/keys``: the public keys of his that his agent publishes, each kind in its own part.

Those that he signs with (SSH), those that messages to him are sealed to (age), and his OpenPGP key.

Security: a secret key that is pasted is refused, and stands in no page: what was typed is shown
again only where it is plainly a public key.
"""

from collections.abc import Callable, Mapping

from webob import Response

from xhmtp_wsgi.errors import Duplicate, Forbidden, MalformedKey, MalformedSignature, MixedKeys
from xhmtp_wsgi.protocol.openpgp_key import KEEP_TO_YOURSELF, OpenPGPKey
from xhmtp_wsgi.protocol.published_keys import fingerprint
from xhmtp_wsgi.protocol.sealing import HYBRID, Recipient, parse_recipients
from xhmtp_wsgi.protocol.ssh_signature import KINDS, PublicKey
from xhmtp_wsgi.protocol.web_key import direct_url
from xhmtp_wsgi.sender import author_keys, openpgp_keys, sealing_keys
from xhmtp_wsgi.web.form import Form
from xhmtp_wsgi.web.visit import Visit

MOST_TYPED = 40 << 10  # characters that are shown again: ten post-quantum keys
SIGNING, SEALING, OPENPGP = PARTS = "signing", "sealing", "openpgp"
_REFUSED = "That is a secret key: keep it to yourself. Nothing of it is kept here."
_PUBLIC_BEGINS: Mapping[str, tuple[str, ...]] = {
    SIGNING: KINDS,
    SEALING: ("age1", "#"),
    OPENPGP: (),
}
_INSTEAD = {
    SIGNING: "What is wanted is the .pub file beside it.",
    SEALING: "What is wanted is the line with age1 that stands in the comment above it.",
    OPENPGP: "What is wanted is what gpg --armor --export writes.",
}


def shown(visit: Visit) -> Response:
    """His keys, and the forms for more."""
    return _page(visit)


def changed(visit: Visit) -> Response:
    """Publishes a key, or takes one back."""
    form = visit.form()
    if form.text("do") in _REMOVE:
        _REMOVE[form.text("do")](visit, form.text("key"))
        return visit.redirect("settings", "keys", note="key-removed")
    part, field, put = _PUT.get(form.text("do"), _PUT["add"])
    typed = form.text(field)
    try:
        if _holds_secret(typed):
            raise MalformedKey(KEEP_TO_YOURSELF)
        put(visit, form, typed)
    except (MalformedSignature, MalformedKey, Duplicate, Forbidden, MixedKeys) as error:
        return _page(visit, part, _in_words(part, error), typed)
    return visit.redirect("settings", "keys", note="key-added")


def _put_signing(visit: Visit, _form: Form, typed: str) -> None:
    key = PublicKey.parse(typed)
    author_keys.add_key(visit.database, visit.owner, key, visit.agent.clock())


def _put_sealing(visit: Visit, form: Form, typed: str) -> None:
    recipients = parse_recipients(typed)
    if not recipients:
        raise MalformedKey("a key to seal to begins with age1")
    replace = form.text("replace") == "yes"
    sealing_keys.publish(
        visit.database, visit.owner, recipients, visit.agent.clock(), replace=replace
    )


def _put_openpgp(visit: Visit, _form: Form, typed: str) -> None:
    key = OpenPGPKey.parse(typed.encode())
    openpgp_keys.put(visit.database, visit.owner, key, visit.agent.clock())


_Put = Callable[[Visit, Form, str], None]
_PUT: Mapping[str, tuple[str, str, _Put]] = {
    "add": (SIGNING, "line", _put_signing),
    "add-sealing": (SEALING, "recipients", _put_sealing),
    "put-openpgp": (OPENPGP, "openpgp", _put_openpgp),
}
_REMOVE: Mapping[str, Callable[[Visit, str], None]] = {
    "remove": lambda visit, key: author_keys.remove_key(visit.database, visit.owner, key),
    "remove-sealing": lambda visit, key: sealing_keys.remove(visit.database, visit.owner, key),
    "remove-openpgp": lambda visit, key: openpgp_keys.remove(visit.database, visit.owner, key),
}


def _holds_secret(typed: str) -> bool:
    return "PRIVATE KEY" in typed or "AGE-SECRET-KEY-" in typed.upper()


def _in_words(part: str, error: Exception) -> str:
    text = str(error)
    if text == KEEP_TO_YOURSELF:
        return f"{_REFUSED} {_INSTEAD[part]}"
    return f"That cannot be published: {text}."


def _to_be_shown_again(part: str, typed: str) -> str:
    """What was typed, where it is plainly no secret."""
    lines = [line.strip() for line in typed.splitlines() if line.strip()]
    if _holds_secret(typed) or len(typed) > MOST_TYPED:
        return ""
    return typed if all(line.startswith(_PUBLIC_BEGINS[part]) for line in lines) else ""


def _shown_key(recipient: Recipient) -> str:
    """A key to seal to; of a post-quantum one, which fills a page, its ends."""
    return fingerprint(recipient) if recipient.kind == HYBRID else str(recipient)


def _page(visit: Visit, part: str = "", wrong: str = "", typed: str = "") -> Response:
    openpgp = openpgp_keys.get(visit.database, visit.owner)
    has_directory = visit.agent.settings.domains[visit.owner.domain].web_key_directory
    return visit.page(
        "settings_keys.html",
        status=400 if wrong else 200,
        keys=author_keys.keys_of(visit.database, visit.owner),
        recipients={
            str(one): _shown_key(one)
            for one in sealing_keys.recipients_of(visit.database, visit.owner)
        },
        openpgp=openpgp,
        found_at=direct_url(visit.owner) if has_directory else "",
        wrong={one: wrong if one == part else "" for one in PARTS},
        typed={one: _to_be_shown_again(part, typed) if one == part else "" for one in PARTS},
    )
