"""How the pages say the policies of sealing: in what is settled, and for one message."""

from collections.abc import Mapping
from types import MappingProxyType

from xhmtp_wsgi.sender.sealing import Policy

WORDS: Mapping[Policy, str] = MappingProxyType(
    {
        Policy.NEVER: "No: the servers of both sides can read it",
        Policy.KNOWN: "For everybody whose key is known, in the clear for others",
        Policy.ALWAYS: "For everybody; without a key for each it is not sent",
    }
)
