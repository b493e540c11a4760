"""Which cameras run: as the file says, by their hours, and as the API has changed it. One that fails harms no other."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from detector.errors import UserError
from stream.service.camera import Camera
from stream.service.counts import State
from stream.service.hours import is_on
from stream.service.settings import Camera as Settings

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Post:
    """A camera that is described, whether it runs or not.

    Attributes:
        settings: as described.
        camera: that runs; None while off.
        paused: by the API.
        from_file: else the API added it.
        since_s: clock when it was told to run.
    """

    settings: Settings
    camera: Camera | None = None
    paused: bool = False
    from_file: bool = True
    since_s: float = 0.0


@dataclass(frozen=True)
class Changes:
    """What a new description changed, by name."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"{word}: {', '.join(names)}" for word, names in vars(self).items() if names]
        return "; ".join(parts) or "nothing changed"


@dataclass(frozen=True)
class Report:
    """How a camera is doing.

    Attributes:
        name, state, message: for people.
        wanted: it should be on now.
        silent_s: seconds without a picture.
        too_silent: it should be on and has been silent longer than its limit.
    """

    name: str
    state: State
    message: str
    wanted: bool
    silent_s: float = 0.0
    too_silent: bool = False


@dataclass
class Supervisor:
    """Starts and stops cameras.

    Attributes:
        create: makes a camera that is not started.
        release: called after a camera was told to stop.
        now: local time, for schedules.
        clock: seconds, monotonic.
    """

    create: Callable[[str, Settings], Camera]
    release: Callable[[Camera], None]
    now: Callable[[], datetime] = datetime.now
    clock: Callable[[], float] = time.monotonic
    _posts: dict[str, Post] = field(default_factory=dict)
    _gone: list[Camera] = field(default_factory=list)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def apply(self, described: dict[str, Settings]) -> Changes:
        """Run what a file describes; cameras whose settings, rules left aside, are the same go on untouched."""
        with self._lock:
            posts = self._posts
            added = tuple(name for name in described if name not in posts)
            changed = tuple(
                n for n in described if n in posts and posts[n].settings.without_rules != described[n].without_rules
            )
            removed = tuple(n for n, post in posts.items() if post.from_file and n not in described)
            for name in removed:
                self._end(self._posts.pop(name))
            for name in changed:
                self._end(posts[name])
            for name, settings in described.items():
                if name in added or name in changed:
                    self._posts[name] = Post(settings)
                else:
                    posts[name].settings = settings
            self.tick()
        return Changes(added, changed, removed)

    def add(self, name: str, settings: Settings) -> None:
        """Run one more camera, until the process ends.

        Raises:
            UserError: there is one of that name.
        """
        with self._lock:
            if name in self._posts:
                raise UserError(f"camera {name}: is there already; remove it first, or choose another name")
            self._posts[name] = Post(settings, from_file=False)
            self.tick()

    def remove(self, name: str) -> None:
        """Stop a camera and forget it; one of the file comes back when its entry changes or with the next start.

        Raises:
            UserError: there is none of that name.
        """
        with self._lock:
            self._end(self._post(name))
            del self._posts[name]

    def pause(self, name: str, paused: bool = True) -> None:
        """Stop a camera until it is told to go on, or let it go on.

        Raises:
            UserError: there is none of that name.
        """
        with self._lock:
            self._post(name).paused = paused
            self.tick()

    def camera(self, name: str) -> Camera | None:
        """The running camera of that name.

        Raises:
            UserError: there is none of that name.
        """
        with self._lock:
            return self._post(name).camera

    def cameras(self) -> list[Camera]:
        """Those that run."""
        with self._lock:
            return [post.camera for post in self._posts.values() if post.camera is not None]

    def names(self) -> list[str]:
        """All that are described."""
        with self._lock:
            return list(self._posts)

    def is_from_file(self, name: str) -> bool:
        """Whether the file describes it; else the API added it."""
        with self._lock:
            return name in self._posts and self._posts[name].from_file

    def settings(self, name: str) -> Settings:
        """As described.

        Raises:
            UserError: there is none of that name.
        """
        with self._lock:
            return self._post(name).settings

    def tick(self) -> None:
        """Start and stop by hours, and have each camera note how it is; a few times a second."""
        with self._lock:
            for name, post in self._posts.items():
                wanted = self._wanted(post)
                if wanted and post.camera is None:
                    post.camera, post.since_s = self.create(name, post.settings), self.clock()
                    post.camera.start()
                elif not wanted:
                    self._end(post)
                if post.camera is not None:
                    post.camera.tick()
            self._gone = [camera for camera in self._gone if not camera.join(0.0)]

    def reports(self) -> list[Report]:
        """How all are doing, in the order of the file."""
        with self._lock:
            return [self._report(name, post) for name, post in self._posts.items()]

    def close(self, timeout_s: float) -> bool:
        """Stop all; True if all ended in time."""
        with self._lock:
            for post in self._posts.values():
                self._end(post)
            self._posts.clear()
            gone = list(self._gone)
        give_up_s = time.monotonic() + timeout_s
        ended = [camera.join(max(give_up_s - time.monotonic(), 0.0)) for camera in gone]
        return all(ended)

    def _report(self, name: str, post: Post) -> Report:
        wanted = self._wanted(post)
        if post.camera is None:
            state: State = "paused" if post.paused else "off"
            return Report(name, state, "" if post.settings.enabled else "not enabled", wanted)
        state, message = post.camera.state
        silent_s = post.camera.silent_s
        return Report(name, state, message, wanted, silent_s, wanted and silent_s > post.settings.silent_limit)

    def _wanted(self, post: Post) -> bool:
        return post.settings.enabled and not post.paused and is_on(post.settings.schedule, self.now())

    def _post(self, name: str) -> Post:
        if name not in self._posts:
            raise UserError(f"camera {name}: there is none of that name; there are {', '.join(self._posts) or 'none'}")
        return self._posts[name]

    def _end(self, post: Post) -> None:
        """Tell a camera to stop; it may take seconds to let go of a stream that has fallen silent."""
        if post.camera is not None:
            post.camera.stop()
            self.release(post.camera)
            self._gone.append(post.camera)
            post.camera = None
