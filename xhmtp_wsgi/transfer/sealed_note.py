"""What stands in the Maildir for a message that was sent sealed: its outer header, and where it is.

Security: nothing of what is sealed is here. The fields were scanned when the message was taken.
"""

from xhmtp_wsgi.protocol.header_block import scan
from xhmtp_wsgi.transfer.age_files import path_of

_OF_THE_BODY = frozenset({"mime-version", "content-type"})


def sealed_note(header: bytes, name: str, further: int) -> bytes:
    """The message, with the line ends of Unix.

    ``header``: the outer header block, with its blank line; ``name``: that of the age file;
    ``further``: how many more there are, for other recipients.
    """
    block = header.removesuffix(b"\r\n")
    fields = [
        field.raw.decode("utf-8").replace("\r\n", "\n").rstrip("\n")
        for field in scan(block, len(block))
        if field.name.lower() not in _OF_THE_BODY
    ]
    lines = [
        *fields,
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        "",
        "This message was sent sealed. It is the file",
        "",
        f"    {path_of(name)}",
        "",
        "of this export, and is opened with a key that it is sealed to:",
        "",
        f"    age -d -i KEYS {path_of(name)}",
    ]
    if further:
        last = f" to {path_of(f'{name}-{further}')}" if further > 1 else ""
        lines += ["", f"What other recipients got is in {path_of(f'{name}-1')}{last}."]
    return "\n".join(lines).encode("utf-8") + b"\n"
