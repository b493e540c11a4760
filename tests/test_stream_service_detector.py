"""Which detector a camera of the service gets: with the search for faces only where it is asked for."""

import pytest

pytest.importorskip("pydantic")

from stream_service_fakes import settings

from stream.service import sharing
from stream.service.names import _check_detector


@pytest.mark.parametrize(("changes", "name"), [
    ({}, "auto"), ({"faces": True}, "auto+faces"), ({"detector": "ssdlite+faces"}, "ssdlite+faces"),
    ({"detector": "ssdlite+faces", "faces": True}, "ssdlite+faces"), ({"detector": "ssdlite"}, "ssdlite"),
])
def test_faces_are_looked_for_where_the_file_asks_for_them(monkeypatch, changes, name):
    asked = []
    monkeypatch.setattr("detector.person.select.create_person_detector", lambda name, **_: asked.append(name))
    monkeypatch.setattr(sharing, "accelerated", lambda people, report: people)
    sharing.detector_maker(settings(**changes))()
    assert asked == [name]
    _check_detector(name)
