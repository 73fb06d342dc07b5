"""The sender's wing: injection → outbox → notifier → [the wire] ... → fetch.

It keeps each message and pays for it. Never imports recipient/: they meet on the wire.
"""
