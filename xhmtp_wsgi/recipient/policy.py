"""Which checks a notification must pass to be taken: ``verify`` in the settings (section 6)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from xhmtp_wsgi.errors import DNSUnavailable, Forbidden, SignatureInvalid, XHMTPError
from xhmtp_wsgi.recipient.authorship import AGENT, SIGNATURE
from xhmtp_wsgi.recipient.origin import ORIGIN
from xhmtp_wsgi.recipient.verdict import FAIL, NONE, PASS, Check

_WANTED: Mapping[str, tuple[tuple[str, ...], ...]] = {
    # Any one of these sets must pass as a whole.
    "origin": ((ORIGIN,),),
    "signature": ((SIGNATURE, AGENT),),
    "origin or signature": ((ORIGIN,), (SIGNATURE, AGENT)),
    "origin and signature": ((ORIGIN, SIGNATURE, AGENT),),
}
POLICIES = tuple(_WANTED)


@dataclass(frozen=True, slots=True)
class Checks:
    """How all checks ended, and what could not be found out just now, by name."""

    done: tuple[Check, ...]
    unknown: Mapping[str, DNSUnavailable]

    def passed(self, name: str) -> bool:
        """Did that one pass?"""
        return any(check.name == name and check.result == PASS for check in self.done)

    def and_also(self, checks: Mapping[str, Callable[[], Check]]) -> "Checks":
        """These, and then others."""
        more = run(checks)
        return Checks((*self.done, *more.done), {**self.unknown, **more.unknown})

    def get(self, name: str) -> Check | None:
        """That one."""
        return next((check for check in self.done if check.name == name), None)


def run(checks: Mapping[str, Callable[[], Check]]) -> Checks:
    """Runs them all; what the DNS does not tell just now is no reason to leave the others."""
    done, unknown = [], {}
    for name, check in checks.items():
        try:
            done.append(check())
        except DNSUnavailable as error:
            unknown[name] = error
            done.append(Check(name, NONE, str(error)))
    return Checks(tuple(done), unknown)


def require(policy: str, checks: Checks) -> None:
    """Returns where the policy is fulfilled; else raises what the sender is to be told.

    DNSUnavailable where it may be later, SignatureInvalid (401) for a signature that does not
    verify, Forbidden (403) for all else.
    """
    wanted = _WANTED[policy]
    if any(all(checks.passed(name) for name in names) for names in wanted):
        return
    raise _reason(checks, [name for names in wanted for name in names])


def _reason(checks: Checks, names: list[str]) -> XHMTPError:
    for name in names:
        if name in checks.unknown:
            return checks.unknown[name]
    failed = [check for name in names if (check := checks.get(name)) and check.result != PASS]
    signature = next((check for check in failed if check.name == SIGNATURE), None)
    if signature is not None and signature.result == FAIL:
        return SignatureInvalid(signature.reason)
    # A forged origin is what a stranger should hear of; that he did not sign is the lesser thing.
    worst = next((check for check in failed if check.result == FAIL), failed[0])
    return Forbidden(f"the {worst.name} check failed: {worst.reason}")
