"""A mailbox of 100,000 messages against one of 1,000: inbox page, feed page, search, JSON list.

python -m benchmarks.large_mailbox [--large 100000] [--rounds 40] [--database URL]

Both mailboxes are in one database, of one agent; each request goes through the whole middleware,
with its log-in. Requests to the two take turns, so that whatever else the machine does meets both
alike. What is searched for is in 50 messages of the small one and 1,000 of the large: a page of
hits is as long in both.
"""

import argparse
import hashlib
import json
import statistics
import tempfile
import time
from pathlib import Path

from sqlalchemy import Connection, insert, text
from webob import Request

from xhmtp_wsgi import XHMTP, Settings, search
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.protocol.access_code import new_identifier
from xhmtp_wsgi.protocol.basic_authentication import basic_credentials
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient.inbox import SEARCH_KIND
from xhmtp_wsgi.recipient.tables import mailboxes, notices
from xhmtp_wsgi.search import entries
from xhmtp_wsgi.wing import Environ, StartResponse

PASSWORD = "builder"
GOAL = 1.5
BATCH = 5000


def no_site(_environ: Environ, start_response: StartResponse) -> list[bytes]:
    """There is none."""
    start_response("404 Not Found", [])
    return []


def fill(agent: Agent, owner: Endpoint, count: int) -> None:
    """So many notices, as the receiver would have stored them, by the batch."""
    with agent.database.transaction() as connection:
        box = connection.execute(
            insert(mailboxes)
            .values(address=str(owner), last_position=count, version=count, changed_at=1.0)
            .returning(mailboxes.c.id)
        ).scalar_one()
    for start in range(0, count, BATCH):
        each = 20 if count <= 1000 else 100
        rows = [
            _row(box, owner, number, each) for number in range(start, min(start + BATCH, count))
        ]
        with agent.database.transaction() as connection:
            connection.execute(insert(notices), rows)
            _index(agent, connection, owner, rows)


def _subject(number: int, each: int) -> str:
    rare = " kangaroo" if number % each == 0 else ""
    return f"Message {number} about the weather{rare}"


def _row(box: int, owner: Endpoint, number: int, each: int) -> dict[str, object]:
    url = (
        f"http://{owner.quoted}:{new_identifier()}@server.a.example/xhmtp/alice/{new_identifier()}"
    )
    author = f"Alice {number % 50} <alice{number % 50}@a.example>"
    headers = f"From: {author}\r\nTo: {owner}\r\nSubject: {_subject(number, each)}\r\n"
    return {
        "id": new_identifier(),
        "mailbox": box,
        "position": number + 1,
        "url_hash": hashlib.sha256(url.encode()).digest(),
        "url": url,
        "headers": headers.encode(),
        "size": 4096,
        "digest": hashlib.sha256(url.encode()).digest(),
        "source": "192.0.2.1",
        "checks": json.dumps([["origin", "pass", "it comes from there"]]),
        "received_at": 1_700_000_000.0 + number,
        "message_id": f"<{number}@a.example>",
        "thread": hashlib.sha256(f"{number % 5000}".encode()).hexdigest()[:32],
        "seen_at": None if number % 10 == 0 else 1.0,
    }


def _index(
    agent: Agent, connection: Connection, owner: Endpoint, rows: list[dict[str, object]]
) -> None:
    """As search.put does, many at once."""
    if not agent.database.is_sqlite:
        for row in rows:
            search.put(connection, owner, SEARCH_KIND, str(row["id"]), _subject_of(row))
        return
    connection.execute(
        insert(entries),
        [{"owner": str(owner), "kind": SEARCH_KIND, "item": row["id"]} for row in rows],
    )
    last = connection.execute(text("SELECT max(id) FROM search_entry")).scalar_one()
    first = last - len(rows) + 1
    connection.execute(
        text("INSERT INTO search_words (rowid, owner, words) VALUES (:id, :owner, :words)"),
        [
            {
                "id": first + place,
                "owner": search._token(str(owner)),
                "words": search.plain(_subject_of(row)),
            }
            for place, row in enumerate(rows)
        ],
    )


def _subject_of(row: dict[str, object]) -> str:
    headers = row["headers"]
    assert isinstance(headers, bytes)
    return headers.decode().partition("Subject: ")[2].strip()


def asked(application: XHMTP, path: str, owner: Endpoint, accept: str) -> float:
    """Seconds that one request takes."""
    request = Request.blank(path)
    request.environ["REMOTE_ADDR"] = "192.0.2.99"
    request.headers["Authorization"] = basic_credentials(str(owner), PASSWORD)
    request.headers["Accept"] = accept
    begun = time.perf_counter()
    answer = request.get_response(application)
    octets = answer.body
    took = time.perf_counter() - begun
    assert answer.status_int == 200, (path, answer.status, octets[:300])
    return took


def main() -> None:
    """Prints a table; exit 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--large", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--database", default="")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        settings = {
            "database": arguments.database or f"sqlite:///{directory}/xhmtp.db",
            "key_directory": f"{directory}/keys",
            "max_inbox": 10**8,
            "domain": {"b.example": {"agent": "http://b.example", "prefix": "xhmtp"}},
        }
        application = XHMTP(no_site, Settings.load(settings, directory=Path(directory)))
        boxes = {1000: "small@b.example", arguments.large: "large@b.example"}
        owners = {count: Endpoint.parse(name) for count, name in boxes.items()}
        for count, owner in owners.items():
            application.agent.accounts.add(owner, PASSWORD)
            fill(application.agent, owner, count)
        missed = _measure(application, owners, arguments.large, arguments.rounds)
        application.agent.database.close()
    raise SystemExit(1 if missed else 0)


def _measure(application: XHMTP, owners: dict[int, Endpoint], large: int, rounds: int) -> list[str]:
    kinds = {
        "inbox page": ("/xhmtp/{}/inbox", "text/html"),
        "feed page": ("/xhmtp/{}", "application/rss+xml"),
        "search": ("/xhmtp/{}/api/search?q=kangaroo", "application/json"),
        "search page": ("/xhmtp/{}/search?q=kangaroo", "text/html"),
        "JSON list": ("/xhmtp/{}/api/messages", "application/json"),
        "only unread": ("/xhmtp/{}/api/messages?unseen=true", "application/json"),
        "far back": ("/xhmtp/{}/api/messages?before=500", "application/json"),
    }
    missed = []
    print(f"{'':12} {'1,000':>10} {large:>10,}  ratio")
    for name, (path, accept) in kinds.items():
        times: dict[int, list[float]] = {count: [] for count in owners}
        for turn in range(rounds + 3):
            for count, owner in owners.items():
                took = asked(application, path.format(owner), owner, accept)
                if turn >= 3:
                    times[count].append(took)
        medians = {count: statistics.median(found) * 1000 for count, found in times.items()}
        ratio = medians[large] / medians[1000]
        print(f"{name:12} {medians[1000]:7.2f} ms {medians[large]:7.2f} ms  {ratio:5.2f}")
        if ratio > GOAL:
            missed.append(name)
    return missed


if __name__ == "__main__":
    main()
