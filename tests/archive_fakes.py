"""An archive whose workers look with stand-ins, in processes of their own; and its command line as a program."""

from __future__ import annotations

import functools
import os
import sys
import time

from stream_fakes import FakeEngine, fake_session

import stream.archive.__main__ as command
from stream.archive import crew, worker
from stream.archive.videos import Video

SLOW_S = float(os.environ.get("ARCHIVE_FAKE_S", "0"))


def opened(**options):
    """In place of `open_session`: an engine that takes a while, so that there is time to be killed."""
    return fake_session(engine=FakeEngine(before=lambda call: time.sleep(SLOW_S)))[0]


def use_fakes():
    """From now on, workers of this process look with stand-ins."""
    worker.open_session = opened


def fake_work(pipe, order):
    """A worker's body."""
    use_fakes()
    worker.work(pipe, order)


def use_fakes_and_die_once():
    """As `use_fakes`, but the first process that asks dies at its first video."""
    use_fakes()
    mark, take = os.environ["ARCHIVE_FAKE_MARK"], worker.Worker.take

    def die_once(self, video, key):
        if not os.path.exists(mark):
            open(mark, "w").close()
            os.kill(os.getpid(), 9)
        take(self, video, key)

    worker.Worker.take = die_once


def moody_work(pipe, order):
    """A worker that does what a video's name says."""
    pipe.send(("ready", ""))
    try:
        while True:
            video, _ = pipe.recv()
            once = os.path.join(order.output, f"{video.name}.seen")
            if video.name == "dies" or (video.name == "dies once" and not os.path.exists(once)):
                open(once, "w").close()
                os.kill(os.getpid(), 9)
            if video.name == "sleeps":
                time.sleep(600)
            if video.name == "fatal":
                pipe.send(("fatal", "the disk is full"))
            elif video.name == "bad":
                pipe.send(("bad", "no video"))
            else:
                pipe.send(("say", "at work"))
                pipe.send(("at", 0.5))
                pipe.send(("done", {"name": video.name}))
    except EOFError:
        return


def stillborn(pipe, order):
    """A worker that ends at once."""
    sys.exit(3)


def video(name: str) -> Video:
    return Video(f"/nowhere/{name}", name, 100, 0)


if __name__ == "__main__":
    import archive_fakes

    command.run_crew = functools.partial(crew.run_crew, body=archive_fakes.fake_work)
    sys.exit(command.run_command(command.main))
