"""What Home Assistant is told so that cameras appear in it by themselves. Pure: topics and payloads.

One message a camera on `<discovery>/device/<id>/config`, as Home Assistant has it since 2024.11: an `event` entity for
each rule, a `binary_sensor` for each rule that lasts, `sensor` counts, an `image` of the last event, a `switch` that
pauses, a `button` for a picture, a `number` for each limit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from detector import __version__
from stream.events.rules import ActionRule, AnyRule, CrossRule, EnterRule, LeaveRule

ORIGIN = "slowfast-live"
LASTING = ("action", "stay", "nobody", "crowd")


def slug(name: str) -> str:
    """A name as topics and entity ids have it: lower case, `_` for all but letters, figures and `-`."""
    return re.sub(r"[^a-z0-9-]+", "_", name.casefold()).strip("_") or "x"


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one camera."""

    prefix: str
    camera: str

    @property
    def base(self) -> str:
        """`slowfast/door`."""
        return f"{self.prefix}/{slug(self.camera)}"

    @property
    def device(self) -> str:
        """`slowfast_door`: the id of the device in Home Assistant."""
        return f"{slug(self.prefix)}_{slug(self.camera)}"

    def rule_event(self, rule: str) -> str:
        """Where each start and end of a rule's events is said."""
        return f"{self.base}/rules/{slug(rule)}/event"

    def rule_active(self, rule: str) -> str:
        """`ON` while an event of the rule goes on; retained."""
        return f"{self.base}/rules/{slug(rule)}/active"

    def threshold(self, rule: str, part: str) -> str:
        """The rule's limit: `state` is said, `set` is listened to."""
        return f"{self.base}/rules/{slug(rule)}/threshold/{part}"

    def action_count(self, action: str) -> str:
        """How many people do it now; retained."""
        return f"{self.base}/actions/{slug(action)}"


def config_topic(discovery: str, device: str) -> str:
    """Where a device is announced."""
    return f"{discovery}/device/{device}/config"


def device_message(
    prefix: str, camera: str, rules: Sequence[AnyRule], actions: Sequence[str], model: str = ""
) -> dict[str, Any]:
    """The announcement of a camera.

    Args:
        prefix: of all topics.
        camera: its name.
        rules: those of this camera.
        actions: whose counts are said.
        model: of the actions, shown as the device's.
    """
    t = Topics(prefix, camera)
    parts: dict[str, Any] = {
        "people": _part(t, "sensor", "people", "People", state_topic=f"{t.base}/people", state_class="measurement",
                        icon="mdi:account-group"),
        "picture": _part(t, "image", "picture", "Last event", image_topic=f"{t.base}/picture",
                         content_type="image/jpeg"),
        "pause": _part(t, "switch", "pause", "Pause", command_topic=f"{t.base}/pause/set",
                       state_topic=f"{t.base}/pause/state", icon="mdi:pause"),
        "snapshot": _part(t, "button", "snapshot", "Take a picture", command_topic=f"{t.base}/snapshot/set",
                          icon="mdi:camera"),
    }
    for action in actions:
        key = f"count_{slug(action)}"
        parts[key] = _part(t, "sensor", key, f"People: {action}", state_topic=t.action_count(action),
                           state_class="measurement")
    for rule in rules:
        parts |= _parts_of_rule(t, rule)
    return {
        "device": {"identifiers": [t.device], "name": camera, "manufacturer": ORIGIN, "model": model or "camera"},
        "origin": {"name": ORIGIN, "sw_version": __version__},
        "availability": [{"topic": f"{prefix}/available"}, {"topic": f"{t.base}/available"}],
        "availability_mode": "all",
        "qos": 1,
        "components": parts,
    }


def _parts_of_rule(t: Topics, rule: AnyRule) -> dict[str, Any]:
    name = slug(rule.name)
    parts = {
        f"event_{name}": _part(t, "event", f"event_{name}", rule.name, state_topic=t.rule_event(rule.name),
                               event_types=event_types(rule))
    }
    if rule.kind in LASTING:
        parts[f"active_{name}"] = _part(
            t, "binary_sensor", f"active_{name}", f"{rule.name} now", state_topic=t.rule_active(rule.name)
        )
    if isinstance(rule, ActionRule):
        parts[f"threshold_{name}"] = _part(
            t, "number", f"threshold_{name}", f"{rule.name} limit", command_topic=t.threshold(rule.name, "set"),
            state_topic=t.threshold(rule.name, "state"), min=0, max=1, step=0.01, entity_category="config",
        )
    return parts


def event_types(rule: AnyRule) -> list[str]:
    """What an event of a rule may say: `start` and `end` where it lasts, `in` and `out` where it passes."""
    if isinstance(rule, CrossRule):
        return ["in", "out"]
    if isinstance(rule, EnterRule | LeaveRule):
        return ["in"] if isinstance(rule, EnterRule) else ["out"]
    return ["start", "end"]


def _part(t: Topics, platform: str, key: str, name: str, **more: Any) -> dict[str, Any]:
    return {"platform": platform, "unique_id": f"{t.device}_{key}", "name": name, **more}
