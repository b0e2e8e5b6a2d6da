"""The wire: control messages, packets, and the hop that carries them (docs/wire-protocol.md)."""
