"""``settings/keys``: the public keys that he signs messages with, as his agent publishes them."""

from webob import Response

from xhmtp_wsgi.errors import Duplicate, Forbidden, MalformedSignature
from xhmtp_wsgi.protocol.ssh_signature import MAX_KEY_LINE, PublicKey
from xhmtp_wsgi.sender import author_keys
from xhmtp_wsgi.web.visit import Visit


def shown(visit: Visit) -> Response:
    """His keys, and the form for another."""
    return _page(visit)


def changed(visit: Visit) -> Response:
    """Publishes a key, or takes one back."""
    form = visit.form()
    if form.text("do") == "remove":
        author_keys.remove_key(visit.database, visit.owner, form.text("key"))
        return visit.redirect("settings", "keys", note="key-removed")
    line = form.text("line")
    if "PRIVATE KEY" in line:
        wrong = (
            "That is a secret key: keep it to yourself. What is wanted is the .pub file beside it."
        )
        return _page(visit, wrong)
    try:
        key = PublicKey.parse(line)
        author_keys.add_key(visit.database, visit.owner, key, visit.agent.clock())
    except (MalformedSignature, Duplicate, Forbidden) as error:
        return _page(visit, f"That cannot be published: {error}.", line)
    return visit.redirect("settings", "keys", note="key-added")


def _page(visit: Visit, wrong: str = "", line: str = "") -> Response:
    return visit.page(
        "settings_keys.html",
        status=400 if wrong else 200,
        keys=author_keys.keys_of(visit.database, visit.owner),
        wrong=wrong,
        line=line[:MAX_KEY_LINE],
    )
