"""Keys to seal to that are handed in together are published together, or not at all."""

import pytest
from sqlalchemy.exc import DatabaseError

from tests.world import BOB, World
from xhmtp_wsgi.errors import MixedKeys
from xhmtp_wsgi.protocol.sealing import Identity
from xhmtp_wsgi.sender import sealing_keys


def test_where_one_of_them_cannot_be_kept_what_was_there_stays(sqlite_world: World):
    database = sqlite_world.b.agent.database
    old, one, other = (Identity.generate().recipient for _ in range(3))
    sealing_keys.add(database, BOB, old, 1.0, replace=False)
    with database.transaction() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER second BEFORE INSERT ON sealing_key "
            f"WHEN NEW.recipient = '{other}' BEGIN SELECT RAISE(ABORT, 'no second one'); END"
        )
    with pytest.raises(DatabaseError):
        sealing_keys.publish(database, BOB, [one, other], 2.0, replace=True)
    assert sealing_keys.recipients_of(database, BOB) == (old,)


def test_two_kinds_are_refused_together_and_beside_each_other(sqlite_world: World):
    database = sqlite_world.b.agent.database
    one, quantum = Identity.generate(), Identity.generate(post_quantum=True)
    with pytest.raises(MixedKeys):
        sealing_keys.publish(database, BOB, [one.recipient, quantum.recipient], 1.0, replace=True)
    sealing_keys.add(database, BOB, one.recipient, 1.0, replace=False)
    with pytest.raises(MixedKeys, match="replace them"):
        sealing_keys.add(database, BOB, quantum.recipient, 2.0, replace=False)
    sealing_keys.add(database, BOB, quantum.recipient, 2.0, replace=True)
    assert sealing_keys.recipients_of(database, BOB) == (quantum.recipient,)
