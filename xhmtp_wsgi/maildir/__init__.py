"""A mailbox brought into a Maildir, for mutt, notmuch, Thunderbird: `xhmtp fetch --maildir DIR`.

fetching   which messages are new, where they come from, and the flags of both in step
files      the Maildir: a message is there whole or not at all
state      what was brought into it before; kept in the Maildir itself, and goes where it goes
local      a message as such a file: what we found of it, which no sender can forge
"""
