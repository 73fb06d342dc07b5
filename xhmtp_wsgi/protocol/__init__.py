"""What crosses the wire, as values: no SQL, no WebOb, no network, no clock (docs/protocol.md)."""
