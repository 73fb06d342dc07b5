"""How a message that is written on the page is sealed: what may be chosen, and what is asked first.

Before anything is sent its author is told who cannot get it, and who would get it in the clear.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from xhmtp_wsgi.sender.sealing import Plan, Policy, Wish, policy_for
from xhmtp_wsgi.web.sealing_words import WORDS
from xhmtp_wsgi.web.visit import Visit

SETTLED = ""
"""What the form says where nothing was chosen."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the form offers. ``demanded``: nothing is to be chosen; ``settled``: as it is else."""

    chosen: str
    demanded: bool
    settled: str
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be settled before it is sent: by address, why it cannot be, or not sealed.

    ``changed``: a key is another than the one that was known.
    """

    refused: tuple[tuple[str, str], ...]
    in_clear: tuple[tuple[str, str], ...]
    changed: bool


def wish_of(visit: Visit) -> Wish:
    """What the form asks for."""
    form = visit.form()
    chosen = form.text("seal")
    return Wish(
        policy=Policy(chosen) if chosen in set(Policy) else None,
        accept_new_keys=form.text("accept_keys") == "yes",
    )


def is_to_be_sealed(visit: Visit) -> bool:
    """Will any of it be sealed, as the form has it? Raises Forbidden for less than is demanded."""
    return policy_for(visit.agent, visit.owner.canonical, wish_of(visit)) is not Policy.NEVER


def choice(visit: Visit, *, sealed: bool) -> Choice:
    """What the form offers; ``sealed``: it answers what was sealed, and so is to be as well."""
    agent, owner = visit.agent, visit.owner.canonical
    chosen = SETTLED if visit.sent is None else visit.sent.text("seal")
    if sealed and not chosen:
        chosen = Policy.ALWAYS
    return Choice(
        chosen=chosen,
        demanded=agent.settings.domains[owner.domain].seal == Policy.ALWAYS,
        settled=WORDS[policy_for(agent, owner, Wish())],
        options={policy.value: words for policy, words in WORDS.items()},
    )


def question(visit: Visit, plan: Plan) -> Question | None:
    """What its author must settle first; None where there is nothing, or she has."""
    refused = tuple((str(one.endpoint), one.refused) for one in plan.recipients if one.refused)
    in_clear: tuple[tuple[str, str], ...] = ()
    if plan.policy is Policy.KNOWN and visit.form().text("in_clear") != "yes":
        in_clear = tuple((str(one.endpoint), one.note) for one in plan.recipients if one.note)
    if not refused and not in_clear:
        return None
    return Question(refused, in_clear, any(one.changed for one in plan.recipients))
