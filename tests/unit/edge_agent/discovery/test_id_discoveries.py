"""How an id that is reported is called."""

from __future__ import annotations

from edge_agent.discovery.id_discoveries import id_discovery


def test_an_id_is_shown_as_everywhere_and_its_slug_names_the_dongle_too() -> None:
    standard = id_discovery("NewId", "van7-can0", (0x1A, False), 7)
    assert (standard.kind, standard.dongle_id, standard.wall_ns) == ("NewId", "van7-can0", 7)
    assert standard.details == {"id": "0x01A", "is_extended": False}
    extended = id_discovery("UnknownId", "van7-can0", (0x1A, True), 7)
    assert extended.details == {"id": "0x0000001A", "is_extended": True}
    assert (standard.slug, extended.slug) == ("01a-van7-can0", "0000001a-van7-can0")
