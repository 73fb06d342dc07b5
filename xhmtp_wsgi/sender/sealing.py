"""Which of a message's recipients get it sealed, to which keys, and who does not (the policy).

Settled before anything is stored: by what the message itself asks for, its sender's own choice,
and the setting ``seal`` of her domain. The message is then sealed in as few files as can be: one
for all recipients whose keys are of one kind, one for each whom the others may not see (Bcc), so
that nobody can count those. The sender's own keys are added: so she can read what she has sent.

Security: a recipient for whom a key was known gets nothing in the clear when it is not to be had,
or has changed: else whoever stands between could have messages sent in the clear.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from xhmtp_wsgi import preferences
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import Forbidden, ImpossibleRecipients
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.sealing import MOST_STANZAS, Recipient
from xhmtp_wsgi.sender import recipient_keys, sealing_keys
from xhmtp_wsgi.sender.recipient_keys import RecipientKeys

MOST_KEYS_EACH = 20  # of one recipient: as many as anybody's devices are
PREFERENCE = "seal"
SUBJECT_PREFERENCE = "seal_subject"
"""The names of the sender's own choices: a Policy, and "outside" where subjects may be seen."""
BY_CLIENT = "client"
"""What stands for the kind of keys where a message came sealed: whose they are is not looked at."""


class Policy(StrEnum):
    """Who gets a message sealed."""

    NEVER = "never"
    KNOWN = "known"
    ALWAYS = "always"


_STRICTNESS = list(Policy)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a message asks for; None: as its sender and her domain have it.

    ``accept_new_keys``: also keys that were not known of a recipient whose keys are known.
    """

    policy: Policy | None = None
    subject_outside: bool | None = None
    accept_new_keys: bool = False


@dataclass(frozen=True, slots=True)
class Planned:
    """What becomes of a message for one recipient: sealed to ``keys``, or in the clear.

    ``refused``: why it can be neither; ``note``: why it is in the clear. The rest as in
    RecipientKeys.
    """

    endpoint: Endpoint
    keys: tuple[Recipient, ...] = ()
    refused: str = ""
    note: str = ""
    is_new: bool = False
    changed: str = ""

    @property
    def sealed(self) -> str | None:
        """To which kind of keys."""
        return self.keys[0].kind if self.keys else None


@dataclass(frozen=True, slots=True)
class Part:
    """Recipients who get the same octets: sealed to ``keys``, or with none in the clear."""

    keys: tuple[Recipient, ...]
    recipients: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of a message, recipient by recipient; ``own``: the sender's own keys."""

    policy: Policy
    recipients: tuple[Planned, ...]
    own: tuple[Recipient, ...]

    def require(self) -> None:
        """Raises ImpossibleRecipients, naming each who cannot get it."""
        reasons = {str(one.endpoint): one.refused for one in self.recipients if one.refused}
        if reasons:
            raise ImpossibleRecipients(reasons)

    def parts(self, visible: Sequence[Endpoint]) -> tuple[Part, ...]:
        """What is to be stored; the first is what the sender gets, whom it is for if she can.

        ``visible``: the recipients whom the others may see.
        """
        seen = {str(endpoint) for endpoint in visible}
        in_clear = tuple(one.endpoint for one in self.recipients if not one.keys)
        found = [Part((), in_clear)] if in_clear else []
        together = [one for one in self.recipients if one.keys and str(one.endpoint) in seen]
        for kind in sorted({one.keys[0].kind for one in together}):
            found += self._shared([one for one in together if one.keys[0].kind == kind])
        alone = [one for one in self.recipients if one.keys and str(one.endpoint) not in seen]
        found += [Part(one.keys, (one.endpoint,)) for one in alone]
        return self._readable_by_sender(found)

    def _shared(self, recipients: Sequence[Planned]) -> Iterator[Part]:
        """Parts for those, no more keys in each than a file can have."""
        room = MOST_STANZAS - len(self.own)
        keys: list[Recipient] = []
        endpoints: list[Endpoint] = []
        for one in recipients:
            if len(keys) + len(one.keys) > room:
                yield Part(tuple(keys), tuple(endpoints))
                keys, endpoints = [], []
            keys += one.keys
            endpoints.append(one.endpoint)
        yield Part(tuple(keys), tuple(endpoints))

    def _readable_by_sender(self, parts: list[Part]) -> tuple[Part, ...]:
        """The same with the sender's own keys in the first, if none is in the clear."""
        if not parts or not parts[0].keys or not self.own:
            return tuple(parts)
        for place, part in enumerate(parts):
            if part.keys[0].kind == self.own[0].kind:
                others = parts[:place] + parts[place + 1 :]
                keys = tuple(dict.fromkeys((*part.keys, *self.own)))
                return (Part(keys, part.recipients), *others)
        return (Part(self.own, ()), *parts)


def plan(
    agent: Agent,
    sender: Endpoint,
    recipients: Sequence[Endpoint],
    wish: Wish,
    *,
    remember: bool = True,
) -> Plan:
    """What will become of a message for each recipient; asks for their keys where it must.

    ``remember``: keys that are seen for the first time are taken as known, unless somebody is
    refused. Raises Forbidden where the wish is less than her domain demands, or a Transient error.
    """
    policy = policy_for(agent, sender, wish)
    if policy is Policy.NEVER:
        return Plan(policy, tuple(map(Planned, recipients)), ())

    def ask(*, remember: bool) -> tuple[Planned, ...]:
        found = recipient_keys.keys_for(
            agent,
            sender,
            recipients,
            within=agent.settings.seal_within,
            accept_new=wish.accept_new_keys,
            remember=remember,
        )
        return tuple(_planned(policy, found[endpoint]) for endpoint in recipients)

    planned = ask(remember=False)
    if remember and any(one.keys for one in planned) and not any(one.refused for one in planned):
        # What was fetched is kept: nobody is asked again.
        planned = ask(remember=True)
    return Plan(policy, planned, sealing_keys.recipients_of(agent.database, sender))


def policy_for(agent: Agent, sender: Endpoint, wish: Wish) -> Policy:
    """What holds for a message of hers.

    Her domain's "always" cannot be lowered: raises Forbidden where a message asks for less.
    """
    demanded = Policy(agent.settings.domains[sender.domain].seal)
    if wish.policy is not None:
        if demanded is Policy.ALWAYS and wish.policy is not Policy.ALWAYS:
            raise Forbidden(f"{sender.domain} sends nothing that is not sealed")
        return wish.policy
    if demanded is Policy.ALWAYS:
        return demanded
    chosen = preferences.get(agent.database, sender, PREFERENCE, "")
    return Policy(chosen) if chosen in _STRICTNESS else demanded


def shows_subject(agent: Agent, sender: Endpoint, wish: Wish) -> bool:
    """Does the subject stand outside of what is sealed? Only where she wants that."""
    if wish.subject_outside is not None:
        return wish.subject_outside
    return preferences.get(agent.database, sender, SUBJECT_PREFERENCE, "") == "outside"


def _planned(policy: Policy, found: RecipientKeys) -> Planned:
    if found.recipients and not found.problem:
        return Planned(
            found.endpoint,
            keys=found.recipients[:MOST_KEYS_EACH],
            is_new=found.is_new,
            changed=found.changed,
        )
    if policy is Policy.KNOWN and found.known_since is None:
        return Planned(found.endpoint, note=found.problem)
    return Planned(found.endpoint, refused=found.problem, changed=found.changed)
