"""Events over MQTT: told at least once and in order, states, commands, Home Assistant. The one door to paho-mqtt.

| topic below the prefix | says |
|---|---|
| `available` | `online` or, by last will, `offline`; retained |
| `events` | `{"type": "start"/"update"/"end"/"film", "before": .., "after": ..}`, the same id from start to end |
| `<camera>/available` | `online` or `offline`; retained |
| `<camera>/people`, `<camera>/actions/<action>` | how many people, how many do it; retained |
| `<camera>/rules/<rule>/event` | `{"event_type": "start"/"end"/"in"/"out", ...}` |
| `<camera>/rules/<rule>/active` | `ON` or `OFF`; retained |
| `<camera>/picture` | JPEG of the last event; retained |
| `<camera>/pause/set`, `<camera>/snapshot/set`, `<camera>/rules/<rule>/threshold/set` | commands; `/state` answers |
"""

from __future__ import annotations

import json
import logging
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detector.errors import UserError
from stream.events.config import MqttConfig
from stream.events.discovery import ORIGIN, Topics, config_topic, device_message, slug
from stream.events.outbox import Away, Refused
from stream.events.records import Event, EventChange, event_to_json
from stream.events.rules import AnyRule
from stream.events.store import Due

log = logging.getLogger(__name__)
KEEPALIVE_S = 15
CONNECT_S, ACKNOWLEDGE_S = 5.0, 10.0
FIRST_RETRY_S, MOST_RETRY_S = 0.5, 15.0


@dataclass(frozen=True, slots=True)
class Command:
    """Something that was asked for over MQTT.

    Attributes:
        camera: its name.
        what: `pause` (value 1 or 0), `snapshot`, or `threshold` of `rule` (value 0 to 1).
    """

    camera: str
    what: str
    value: float = 0.0
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Announced:
    """A camera as it is announced: its rules, the actions that are counted, the model."""

    camera: str
    rules: tuple[AnyRule, ...] = ()
    actions: tuple[str, ...] = ()
    model: str = ""


class MqttTarget:
    """A connection to a broker, kept up by itself; a target of the outbox called `mqtt`."""

    name = "mqtt"

    def __init__(
        self, config: MqttConfig, *, on_command: Callable[[Command], None] = lambda command: None,
        picture_of: Callable[[Event], bytes | None] = lambda event: None,
        on_online: Callable[[], None] = lambda: None,
    ) -> None:
        """Connect in a thread of its own, again and again.

        Args:
            config: the broker.
            on_command: called in the connection's thread.
            picture_of: the JPEG of an event that has one.
            on_online: called each time the broker has taken the connection and passes commands on.

        Raises:
            UserError: paho-mqtt is not installed, or the authority's file cannot be read.
        """
        self._config, self._on_command, self._picture_of = config, on_command, picture_of
        self._on_online = on_online
        self._cameras: dict[str, Announced] = {}
        self._states: dict[str, bytes | str] = {}
        self._active: dict[tuple[str, str], set[str]] = {}
        self._inflight: dict[int, tuple[Any, list[Any]]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._error = f"broker {config.host}: not connected yet"
        self.online = self._was_online = False
        # A client lives as long as its connection: what it had not got acknowledged comes again out of the outbox, in
        # order, and not out of paho's own queue, which would be overtaken by what is said after the connection.
        self._client = self._make_client()
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._thread.start()

    # ---- cameras and states ------------------------------------------------------------------------------------

    def announce(self, camera: Announced) -> None:
        """A camera is there, or its rules have changed."""
        t = Topics(self._config.prefix, camera.camera)
        with self._lock:
            self._cameras[slug(camera.camera)] = camera
            for rule in camera.rules:
                self._states.setdefault(t.rule_active(rule.name), "OFF")
            self._states.setdefault(f"{t.base}/pause/state", "OFF")
            self._states[f"{t.base}/available"] = "online"
        if self.online:
            self._say_camera(camera)

    def withdraw(self, camera: str) -> None:
        """A camera is gone for good: it disappears from Home Assistant too."""
        t = Topics(self._config.prefix, camera)
        with self._lock:
            self._cameras.pop(slug(camera), None)
            gone = [topic for topic in self._states if topic.startswith(t.base + "/")]
            for topic in gone:
                del self._states[topic]
        if self.online:
            for topic in [*gone, f"{t.base}/picture"]:
                self._publish(topic, b"", retain=True)
            if self._config.discovery:
                self._publish(config_topic(self._config.discovery, t.device), b"", retain=True)

    def state(self, camera: str, values: Mapping[str, str]) -> None:
        """Say what is so now, where it has changed; topics below the camera's own."""
        base = Topics(self._config.prefix, camera).base
        with self._lock:
            changed = {f"{base}/{k}": v for k, v in values.items() if self._states.get(f"{base}/{k}") != v}
            self._states.update(changed)
        if self.online:
            for topic, value in changed.items():
                self._publish(topic, value, retain=True)

    def threshold(self, camera: str, rule: str, over: float) -> None:
        """Say a rule's limit."""
        self.state(camera, {f"rules/{slug(rule)}/threshold/state": f"{over:g}"})

    # ---- target of the outbox ----------------------------------------------------------------------------------

    def send(self, due: Sequence[Due]) -> int:
        """See `Target.send`: published with QoS 1, taken when the broker has acknowledged."""
        client = self._client
        for one in due:
            if self._inflight.get(one.change_id, (None, []))[0] is client:
                continue
            if not self.online:
                break
            self._inflight[one.change_id] = (client, self._publish_change(one.change))
        taken = 0
        for one in due:
            of_client, infos = self._inflight.get(one.change_id, (None, []))
            if of_client is not client or not self._acknowledged(infos):
                break
            del self._inflight[one.change_id]
            taken += 1
        if not taken:
            raise Away(self._error or f"broker {self._config.host}: does not acknowledge")
        return taken

    def close(self) -> None:
        """Say goodbye and hang up."""
        if self.online:
            goodbye = self._publish(f"{self._config.prefix}/available", "offline", retain=True)
            try:
                goodbye.wait_for_publish(2.0)
            except (ValueError, RuntimeError):
                log.debug("the broker was gone before goodbye")
        self._stop.set()
        self._client.disconnect()
        self._thread.join(CONNECT_S + 1)

    # ---- inside ------------------------------------------------------------------------------------------------

    def _make_client(self) -> Any:
        try:
            import paho.mqtt.client as paho
        except ImportError:
            raise UserError(
                "mqtt: paho-mqtt is not installed, expected it; run: pip install 'slowfast-live[events]'"
            ) from None
        config = self._config
        client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=config.client or f"{slug(config.prefix)}-{id(self):x}",
            protocol=paho.MQTTv5 if config.version == "5" else paho.MQTTv311, reconnect_on_failure=False,
        )
        if config.user:
            client.username_pw_set(config.user, config.password.get_secret_value())
        if config.tls or config.ca:
            try:
                client.tls_set(ca_certs=config.ca or None)
            except (OSError, ssl.SSLError) as error:
                raise UserError(f"mqtt.ca {config.ca}: cannot be read ({error.strerror or error})") from None
        client.will_set(f"{config.prefix}/available", "offline", qos=1, retain=True)
        client.connect_timeout = CONNECT_S
        client.max_inflight_messages_set(1000)
        client.on_connect = self._connected
        client.on_subscribe = lambda *_: self._on_online()
        client.on_disconnect = self._disconnected
        client.on_message = self._heard
        return client

    def _run(self) -> None:
        config, pause_s = self._config, FIRST_RETRY_S
        port = config.port or (8883 if config.tls or config.ca else 1883)
        while not self._stop.is_set():
            try:
                self._client.connect(config.host, port, keepalive=KEEPALIVE_S)
                self._client.loop_forever()
            except (OSError, ValueError) as error:
                self._lost(getattr(error, "strerror", None) or type(error).__name__)
            if self._was_online:
                pause_s = FIRST_RETRY_S
            self.online = self._was_online = False
            if self._stop.wait(pause_s):
                return
            pause_s = min(pause_s * 2, MOST_RETRY_S)
            self._client = self._make_client()

    def _connected(self, client: Any, data: Any, flags: Any, code: Any, properties: Any) -> None:
        if code.is_failure:
            self._lost(str(code).lower())
            return
        config = self._config
        topics = [f"{config.prefix}/{topic}" for topic in ("+/pause/set", "+/snapshot/set", "+/rules/+/threshold/set")]
        if config.discovery:
            topics += [f"{config.discovery}/status", config_topic(config.discovery, "+")]
        client.subscribe([(topic, 1) for topic in topics])
        self.online, self._was_online, self._error = True, True, ""
        self._publish(f"{config.prefix}/available", "online", retain=True)
        with self._lock:
            cameras, states = list(self._cameras.values()), dict(self._states)
        for camera in cameras:
            self._say_camera(camera)
        for topic, value in states.items():
            self._publish(topic, value, retain=True)

    def _disconnected(self, client: Any, data: Any, flags: Any, code: Any, properties: Any) -> None:
        # A connection that was refused ends too; why it was refused says more.
        if self.online:
            self._lost(str(code).lower())

    def _lost(self, reason: str) -> None:
        if not self._stop.is_set() and (self.online or reason not in self._error):
            log.warning("broker %s: %s; events wait on disk", self._config.host, reason)
        self.online, self._error = False, f"broker {self._config.host}: {reason}"

    def _say_camera(self, camera: Announced) -> None:
        config, t = self._config, Topics(self._config.prefix, camera.camera)
        if config.discovery:
            message = device_message(config.prefix, camera.camera, camera.rules, camera.actions, camera.model)
            self._publish(config_topic(config.discovery, t.device), json.dumps(message), retain=True)
        with self._lock:
            states = {topic: value for topic, value in self._states.items() if topic.startswith(t.base + "/")}
        for topic, value in states.items():
            self._publish(topic, value, retain=True)

    def _publish_change(self, change: EventChange) -> list[Any]:
        event = change.event
        t = Topics(self._config.prefix, event.camera)
        body = {
            "type": change.kind, "before": None if change.before is None else event_to_json(change.before, why=False),
            "after": event_to_json(event),
        }
        infos = [self._publish(f"{self._config.prefix}/events", json.dumps(body, ensure_ascii=False))]
        said = event.direction or change.kind
        if change.kind in ("start", "end") and not (event.direction and change.kind == "end"):
            attributes = {"event_type": said} | event_to_json(event, why=False)
            infos.append(self._publish(t.rule_event(event.rule), json.dumps(attributes, ensure_ascii=False)))
        if change.kind in ("start", "end") and not event.direction:
            active = self._active.setdefault((event.camera, event.rule), set())
            (active.add if change.kind == "start" else active.discard)(event.id)
            value = "ON" if active else "OFF"
            with self._lock:
                self._states[t.rule_active(event.rule)] = value
            infos.append(self._publish(t.rule_active(event.rule), value, retain=True))
        if event.snapshot and (change.before is None or not change.before.snapshot):
            picture = self._picture_of(event)
            if picture:
                infos.append(self._publish(f"{t.base}/picture", picture, retain=True))
        return infos

    def _publish(self, topic: str, payload: bytes | str, retain: bool = False) -> Any:
        return self._client.publish(topic, payload, qos=1, retain=retain)

    def _acknowledged(self, infos: list[Any]) -> bool:
        """Wait until the broker has these, for a while, and only while it is there."""
        give_up_s = time.monotonic() + ACKNOWLEDGE_S
        for info in infos:
            try:
                while not info.is_published():
                    if not self.online or self._stop.is_set() or time.monotonic() > give_up_s:
                        return False
                    info.wait_for_publish(0.2)
            except RuntimeError:  # not connected any more
                return False
            except ValueError as error:
                raise Refused(f"broker {self._config.host}: {error}") from None
        return True

    def _heard(self, client: Any, data: Any, message: Any) -> None:
        config, topic = self._config, message.topic
        if config.discovery and topic == f"{config.discovery}/status":
            if message.payload == b"online":
                with self._lock:
                    cameras = list(self._cameras.values())
                for camera in cameras:
                    self._say_camera(camera)
            return
        if config.discovery and topic.startswith(f"{config.discovery}/device/"):
            self._clear_stale(topic, message.payload)
            return
        try:
            command = self._command(topic.removeprefix(f"{config.prefix}/").split("/"), message.payload.decode())
        except (ValueError, UnicodeDecodeError):
            command = None
        if command is None:
            log.warning("mqtt: %s: not a command that is known here", topic)
            return
        self._on_command(command)

    def _command(self, parts: list[str], text: str) -> Command | None:
        camera = self._cameras.get(parts[0])
        if camera is None:
            return None
        if parts[1:] == ["pause", "set"] and text.upper() in ("ON", "OFF"):
            return Command(camera.camera, "pause", float(text.upper() == "ON"))
        if parts[1:] == ["snapshot", "set"]:
            return Command(camera.camera, "snapshot")
        if len(parts) == 5 and parts[3:] == ["threshold", "set"]:
            rule = next((r.name for r in camera.rules if slug(r.name) == parts[2]), None)
            value = float(text)
            return Command(camera.camera, "threshold", value, rule) if rule and 0 <= value <= 1 else None
        return None

    def _clear_stale(self, topic: str, payload: bytes) -> None:
        """A camera of ours that was announced by an earlier run and is here no more disappears."""
        device = topic.split("/")[-2]
        if not payload or not device.startswith(slug(self._config.prefix) + "_"):
            return
        try:
            origin = json.loads(payload).get("origin", {}).get("name")
        except (ValueError, AttributeError):
            return
        ours = {Topics(self._config.prefix, name).device for name in list(self._cameras)}
        if origin == ORIGIN and self._cameras and device not in ours:
            self._publish(topic, b"", retain=True)
