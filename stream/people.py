"""The person detector that a stream uses, on the fastest engine there is for it."""

from __future__ import annotations

from collections.abc import Callable

from detector.person import PersonDetector
from detector.person.faces import FaceFinder
from detector.person.ssdlite import SsdliteDetector


def accelerated(people: PersonDetector, report: Callable[[str], object]) -> PersonDetector:
    """As `engine_build.person.accelerate`, which asks for torch; SSDLite needs neither."""
    whole = people.people if isinstance(people, FaceFinder) else people
    if isinstance(whole, SsdliteDetector):
        return people
    from engine_build.person import accelerate

    return accelerate(people, report)
