"""The recipient's wing: receiver → origin → inbox → feed.

It is only told that a message exists, and stores no more than that. Never imports sender/: they
meet on the wire.
"""
