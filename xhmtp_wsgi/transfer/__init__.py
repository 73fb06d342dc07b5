"""Moving: what an agent keeps for somebody, written to a directory of files, and read from one.

`xhmtp export` and `xhmtp import`; the form of the files is told in docs/moving.md. `exporting` puts
together what both wings give of themselves, `directory` and `maildir` write it, `reading` reads it
strictly, and `importing` gives each wing its own.

Security: an export holds what the database holds, access codes too: its files are for their owner
alone. One that is imported may come from anybody: every octet of it is checked.
"""
