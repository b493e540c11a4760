"""Telling people and programs: Apprise's services and webhooks, through the outbox. The one door to Apprise."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from detector.errors import UserError
from stream.events.config import TellConfig
from stream.events.gate import Gate
from stream.events.outbox import Away, Later, Refused
from stream.events.records import Event, EventChange, describe, event_to_json
from stream.events.store import Due

log = logging.getLogger(__name__)
# A picture is made a moment after the event; a message waits so long for it.
PICTURE_WAIT_S = 3.0
CONNECT_S, ANSWER_S = 5.0, 15.0
# Answers after which it makes sense to try again: a receiver that is busy, misses its rights, or is not set up yet.
TRY_AGAIN = frozenset({401, 403, 404, 407, 408, 409, 423, 425, 429})
# Lines of a digest; the rest is counted.
DIGEST_LINES = 20


class Voice(Protocol):
    """How something is said: one message for one change or for several."""

    def say(self, due: Sequence[Due], picture: Path | None) -> None:
        """Say it.

        Raises:
            Away, Refused: as for `Target.send`.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class TellTarget:
    """Somebody who is told; a target of the outbox."""

    def __init__(
        self, config: TellConfig, voice: Voice, *, zone: tzinfo | None = None, name: str = "",
        picture_path: Callable[[Event], Path] | None = None, utc_clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            config: who is told what and when.
            voice: how.
            zone: of quiet hours.
            name: of the target; the configuration's unless given.
            picture_path: where the picture of an event will be.
            utc_clock: seconds since 1970.
        """
        self.name = name or config.name
        self._config, self._voice, self._utc = config, voice, utc_clock
        self._gate = Gate(config.quiet, config.at_most, config.digest, zone)
        self._picture_path = picture_path if config.pictures else None

    def wants(self, change: EventChange) -> bool:
        """Whether a change is for this one."""
        config, event = self._config, change.event
        return (
            change.kind in config.on and (not config.rules or event.rule in config.rules)
            and (not config.cameras or event.camera in config.cameras)
        )

    def send(self, due: Sequence[Due]) -> int:
        """See `Target.send`."""
        passed = next((i for i, one in enumerate(due) if self.wants(one.change)), len(due))
        if passed:
            return passed
        wanted = [one for one in due if self.wants(one.change)]
        now = self._utc()
        answer = self._gate.now(now, len(wanted))
        if isinstance(answer, float):
            raise Later(answer)
        if answer == 1:
            self._voice.say(due[:1], self._picture(due[0], now))
            self._gate.sent(now)
            return 1
        self._voice.say(wanted, None)
        self._gate.sent(now)
        return len(due)

    def close(self) -> None:
        """Let go of connections."""
        self._voice.close()

    def _picture(self, due: Due, now: float) -> Path | None:
        if self._picture_path is None or due.change.event.start_utc is None:
            return None
        path = self._picture_path(due.change.event)
        if path.exists():
            return path
        left = due.stored_utc + PICTURE_WAIT_S - now
        if left > 0:
            raise Later(min(left, 0.5))
        return None


def words(due: Sequence[Due]) -> tuple[str, str]:
    """Title and text of a message about one change or several."""
    if len(due) == 1:
        event = due[0].change.event
        suffix = {"end": " (over)", "film": " (film)"}.get(due[0].change.kind, "")
        return f"{event.camera}: {event.rule}{suffix}", describe(event)
    counts = Counter(f"{d.change.event.camera}: {d.change.event.rule}" for d in due)
    lines = [describe(d.change.event) for d in due[:DIGEST_LINES]]
    if len(due) > DIGEST_LINES:
        lines.append(f"and {len(due) - DIGEST_LINES} more")
    return f"{len(due)} events ({', '.join(f'{n} x {name}' for name, n in counts.most_common(3))})", "\n".join(lines)


class AppriseVoice:
    """One of the services that Apprise knows."""

    def __init__(self, address: str, name: str) -> None:
        """
        Raises:
            UserError: Apprise is not installed, or does not know the address.
        """
        try:
            import apprise
        except ImportError:
            raise UserError(
                f"tell {name}: Apprise is not installed, expected it; run: pip install 'slowfast-live[events]'"
            ) from None
        # Its own lines may show addresses.
        logging.getLogger("apprise").setLevel(logging.CRITICAL)
        self._name, self._apprise = name, apprise.Apprise()
        if not self._apprise.add(address):
            scheme = address.split("://")[0] if "://" in address else "no scheme"
            raise UserError(f"tell {name}: got an address ({scheme}) that Apprise does not know, expected one it does")

    def say(self, due: Sequence[Due], picture: Path | None) -> None:
        """See `Voice.say`."""
        title, text = words(due)
        try:
            taken = self._apprise.notify(body=text, title=title, attach=str(picture) if picture else None)
        except Exception as error:
            raise Away(f"tell {self._name}: {type(error).__name__}") from None
        if not taken:
            raise Away(f"tell {self._name}: the service did not take it")

    def close(self) -> None:
        """Nothing to close."""


class WebhookVoice:
    """JSON that is posted to an address, signed.

    Headers: `X-Slowfast-Delivery` (a number that stays when it is sent again), `X-Slowfast-Timestamp`, and with a
    secret `X-Slowfast-Signature: sha256=HEX`, the HMAC-SHA256 of `TIMESTAMP.BODY`.
    """

    def __init__(self, url: str, secret: str, name: str, utc_clock: Callable[[], float] = time.time) -> None:
        import requests

        self._url, self._secret, self._name, self._utc = url, secret, name, utc_clock
        self._host = urlsplit(url).hostname or "?"
        self._session = requests.Session()

    def say(self, due: Sequence[Due], picture: Path | None) -> None:
        """See `Voice.say`."""
        import requests

        body = json.dumps(message(due), ensure_ascii=False).encode()
        stamp = f"{self._utc():.0f}"
        headers = {
            "Content-Type": "application/json", "User-Agent": "slowfast-live", "X-Slowfast-Timestamp": stamp,
            "X-Slowfast-Delivery": str(due[0].change_id),
        }
        if self._secret:
            headers["X-Slowfast-Signature"] = f"sha256={sign(self._secret, stamp, body)}"
        try:
            answer = self._session.post(
                self._url, data=body, headers=headers, timeout=(CONNECT_S, ANSWER_S), allow_redirects=False
            )
        except requests.RequestException as error:
            raise Away(f"webhook {self._name} ({self._host}): {_reason(error)}") from None
        if 200 <= answer.status_code < 300:
            return
        said = f"webhook {self._name} ({self._host}): answered {answer.status_code}"
        if 400 <= answer.status_code < 500 and answer.status_code not in TRY_AGAIN:
            raise Refused(said)
        raise Away(said)

    def close(self) -> None:
        """Hang up."""
        self._session.close()


def message(due: Sequence[Due]) -> dict[str, Any]:
    """What a webhook is posted: one change, or `{"type": "digest", "events": [...]}`."""
    if len(due) > 1:
        return {"type": "digest", "text": words(due)[1], "events": [event_to_json(d.change.event) for d in due]}
    change = due[0].change
    before = None if change.before is None else event_to_json(change.before, why=False)
    return {"type": change.kind, "text": words(due)[1], "event": event_to_json(change.event), "before": before}


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Hex HMAC-SHA256 of `TIMESTAMP.BODY`."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _reason(error: Exception) -> str:
    """A word for what went wrong; the error's own text holds the whole address."""
    return {"ConnectTimeout": "no answer", "ReadTimeout": "no answer", "ConnectionError": "cannot be reached",
            "SSLError": "its certificate is not trusted"}.get(type(error).__name__, type(error).__name__)


def targets_of(
    config: TellConfig, *, zone: tzinfo | None = None, picture_path: Callable[[Event], Path] | None = None,
    utc_clock: Callable[[], float] = time.time,
) -> list[TellTarget]:
    """The targets of one entry: one for each address, so that one that is away does not hold up another.

    Raises:
        UserError: an address that Apprise does not know.
    """
    more: dict[str, Any] = {"zone": zone, "picture_path": picture_path, "utc_clock": utc_clock}
    url = config.webhook.get_secret_value()
    if url:
        voice = WebhookVoice(url, config.secret.get_secret_value(), config.name, utc_clock)
        # A program gets the picture's path; it can fetch it when it likes.
        return [TellTarget(config, voice, **(more | {"picture_path": None}))]
    return [
        TellTarget(config, AppriseVoice(address.get_secret_value(), config.name), **more,
                   name=config.name if i == 0 else f"{config.name}-{i + 1}")
        for i, address in enumerate(config.apprise)
    ]
