"""No password is ever shown: tables of addresses, and the real program on all of them with every output searched."""

import json
import os
import re
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from stream_rtsp import RtspCamera

from detector.errors import UserError
from stream.sources import open_source
from stream.sources.secrets import file_stem, for_ffmpeg, read_address, redact, source_from_environment

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(("url", "shown"), [
    ("rtsp://user:secret@host:554/door", "rtsp://***@host:554/door"),
    ("rtsp://user@host/door", "rtsp://***@host/door"),
    ("http://host/video?user=me&pwd=secret", "http://host/video?user=***&pwd=***"),
    ("http://host/video?secret", "http://host/video?***"),
    ("http://user:se%40cret@[::1]:80/x#secret", "http://***@[::1]:80/x"),
    ("rtsp://user:p@ss@host/door", "rtsp://***@host/door"),
    ("rtsp://user:secret@host:notaport/door", "rtsp://***@host:notaport/door"),
    ("http://host/plain.mp4", "http://host/plain.mp4"),
    # Passwords as people paste them.
    ("rtsp://admin:2024/secret@host/live", "rtsp://***@host/live"),
    ("rtsp://admin:a#b?c[secret@host:554/live", "rtsp://***@host:554/live"),
    ("RTSP://admin:secret@host/live", "RTSP://***@host/live"),
    ("rtsp://:secret@host/x", "rtsp://***@host/x"),
    ("async:http://u:secret@h/x", "async:http://***@h/x"),
    # In the path, in parameters, in the query.
    ("rtsp://h:554/user=admin_password=sec_ret_channel=1_stream=0.sdp", "rtsp://h:554/user=***_password=***_channel=1_stream=0.sdp"),
    ("rtsp://h/user=admin&password=sec&ret&channel=1&stream=0", "rtsp://h/user=***&password=***&channel=1&stream=0"),
    ("rtsp://h/password=a/b?c&d_channel=1", "rtsp://h/password=***_channel=1"),
    ("rtsp://h/live;password=secret;channel=1", "rtsp://h/live;password=***;channel=1"),
    ("rtsp://h/live,password:secret", "rtsp://h/live,password:***"),
    ("rtsp://h/live%3Bpassword%3Dsecret", "rtsp://h/live%3Bpassword%3D***"),
    ("rtsp://h/live/token/secret/main", "rtsp://h/live/token/***/main"),
    ("srt://h:9000?passphrase=secret&mode=caller", "srt://h:9000?passphrase=***&mode=***"),
    ("http://h/v?pwd=a&b=c&channel=1", "http://h/v?pwd=***&***&channel=***"),
    ("http://h/v?token=secret@secret", "http://***"),
    ("rtmp://h/app playpath=x token=secret live=1", "rtmp://h/app playpath=x token=*** live=1"),
    ("http://h/v?X-Sig=secret&Auth=secret&APIKEY=secret", "http://h/v?X-Sig=***&Auth=***&APIKEY=***"),
    ("rtsps://h:7441/uSMJhFzg1Hfoxjhc?enableSrtp", "rtsps://h:7441/***?***"),
    ("http://h/0123456789abcdef0123456789abcdef/live", "http://h/***/live"),
    # Nothing to hide.
    ("rtsp://h/Streaming/Channels/101", "rtsp://h/Streaming/Channels/101"),
    ("rtsp://h/h264Preview_01_main", "rtsp://h/h264Preview_01_main"),
    ("rtsp://cam-key:554/keyframes/1", "rtsp://cam-key:554/keyframes/1"),
    ("films/password=x.mp4", "films/password=x.mp4"), ("films/me@home.mp4", "films/me@home.mp4"),
    # A slip of the pen is no address any more.
    ("rtsp:/admin:secret@host/live", "***@host/live"), ("admin:secret@host", "***@host"),
])
def test_what_opens_a_stream_is_hidden(url, shown):
    assert redact(url) == shown
    # What was hidden already stays as it is, without an end to the stars.
    assert redact(shown).count("***") <= shown.count("***") + 1


@pytest.mark.parametrize(("address", "escaped"), [
    ("rtsp://user:pass@host/live", None), ("rtsp://host/live", None), ("film@home.mp4", None),
    ("rtsp://user:p%40ss@host/live", None), ("rtsp://user@host/live", None),
    ("rtsp://admin:p@s/s#w%rd@127.0.0.1:8554/live", "rtsp://admin:p%40s%2Fs%23w%25rd@127.0.0.1:8554/live"),
    ("rtsp://admin:2024/secret@host/live", "rtsp://admin:2024%2Fsecret@host/live"),
    ("http://admin:a?b[c]@cam.local/x?y=1#z", "http://admin:a%3Fb%5Bc%5D@cam.local/x?y=1#z"),
    ("rtsp://admin:p:w@[::1]:554/x", "rtsp://admin:p%3Aw@[::1]:554/x"),
    ("rtsp://user:grün@host/live", "rtsp://user:gr%C3%BCn@host/live"),
    # An @ that is no end of a login.
    ("http://cam.local:8080/x?mail=a@b", None), ("http://host/x?mail=a@b.c", None),
    ("http://host:8080/@user/clip", None),
    ("http://user:pass@host.com/@handle/x", None), ("rtsp://user:pass@192.168.1.5/live@main", None),
    ("rtsp://192.168.1.5:554/live@main", None),
])
def test_logins_are_escaped_for_ffmpeg_and_nothing_else(address, escaped):
    assert for_ffmpeg(address) == (escaped or address)


@pytest.mark.parametrize(("name", "stem"), [
    ("clip.mp4", "clip"), ("sample", "sample"), ("http://***@h/films/party.mp4?token=***", "party"),
    ("http://h/", "h"), ("http://h/a%20b:c.mp4", "a_20b_c"), ("http://h/token/secret", "stream"),
])
def test_files_made_from_a_stream_have_no_secret_in_their_name(name, stem):
    assert file_stem(name) == stem


def test_a_source_can_be_given_in_a_file(tmp_path, write_video):
    video = write_video(frames=3)
    path = tmp_path / "door.txt"
    path.write_text(f"# the door\n\n  {video}  \nrtsp://other\n")
    assert len(list(open_source(f"@{path}"))) == 3
    assert read_address(str(path)) == str(video)


@pytest.mark.parametrize(("content", "says"), [
    (None, "cannot be read"), ("", "is empty"), ("# only a word\n\n", "is empty"), (b"\xff\xfe\x00", "is not text"),
])
def test_a_file_that_holds_no_address_is_one_line(tmp_path, content, says):
    path = tmp_path / "door.txt"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=says) as caught:
        open_source(f"@{path}")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_environment_is_asked_once(monkeypatch):
    monkeypatch.setenv("SLOWFAST_SOURCE", " rtsp://user:secret@host/x ")
    assert source_from_environment() == "rtsp://user:secret@host/x"
    assert "SLOWFAST_SOURCE" not in os.environ
    assert source_from_environment() is None


@pytest.mark.parametrize("words", [
    ["rtsp://u:Xy7zz@h/x", "--source", "rtsp://u:Xy7zz@h/y"], ["--seconds", "rtsp://u:Xy7zz@h/x"],
    ["--sorce", "rtsp://u:Xy7zz@h/x"], ["--sorce=rtsp://u:Xy7zz@h/x"], ["a", "rtsp://u:Xy7zz@h/x"],
    ["--display", "rtsp://u:Xy7zz@h/x"], ["a", "--output", "rtsp://u:Xy7zz@h/x"], ["a", "--model", "http://u:Xy7zz@h/x"],
])
def test_mistakes_in_the_command_show_no_password(words):
    from stream import webcam

    with pytest.raises(UserError) as caught:
        webcam.main(words)
    assert "Xy7zz" not in str(caught.value)


PROGRAM = textwrap.dedent("""
    import os, sys
    sys.path.insert(0, "tests")
    import detector.tracking
    from detector.errors import run_command
    from stream import webcam
    from stream.sources import network
    from stream_fakes import FakeTracker, fake_session
    detector.tracking.Tracker = FakeTracker
    webcam.open_session = lambda *a, **k: fake_session()[0]
    webcam._display = lambda: False
    network.OPEN_TIMEOUT_S = 2.0
    os.chdir(sys.argv[1])
    for i, address in enumerate(sys.stdin.read().splitlines()):
        print("----", i, run_command(lambda: webcam.main(["--source", address, *sys.argv[2:]])), file=sys.stderr)
""")


def run_program(addresses, folder, *options, timeout=100, **environment):
    """Standard output, standard error and the names and contents of all files of runs with these addresses."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), *options], input="\n".join(addresses), cwd=ROOT, text=True,
        capture_output=True, timeout=timeout, check=False, env=os.environ | environment,
    )
    files = [path for path in folder.rglob("*") if path.is_file()]
    kept = b"".join(str(path).encode() + b"\n" + path.read_bytes() for path in files)
    return run.stdout + run.stderr + kept.decode("utf-8", "replace"), run.stderr


def test_no_output_of_the_program_holds_a_password(tmp_path):
    """Addresses that cannot be opened: the errors of each library on the way are one line without the secret."""
    secret = "Xy7zzSecretQ"
    door, slip = tmp_path.parent / f"{tmp_path.name}-door", tmp_path.parent / f"{tmp_path.name}-slip"
    door.write_text(f"rtsp://admin:{secret}@127.0.0.1:9/live\n")
    slip.write_text(f"{secret}\n")
    places = [
        f"rtsp://admin:2024/{secret}@127.0.0.1:9/live", f"rtsp://admin:{secret}#{secret}@127.0.0.1:9/live",
        f"rtsp://admin:{secret}?{secret}@127.0.0.1:9/live", f"rtsp://admin:[{secret}@127.0.0.1:9/live",
        f"rtsp://admin:{secret}]@[::1]:9/live", f"rtsp://admin:a@{secret}@127.0.0.1:9/live",
        f"http://admin:[{secret}@127.0.0.1:9/v.mp4", f"http://u:{secret}@[::1/x", f"rtsp://u:{secret}@/x",
        f"rtsp://127.0.0.1:9/user=admin_password={secret}_channel=1_stream=0.sdp",
        f"rtsp://127.0.0.1:9/live;password={secret}", f"http://127.0.0.1:9/v?token={secret}&x=1",
        f"http://127.0.0.1:9/v?{secret}", f"http://127.0.0.1:9/token/{secret}/x", f"http://127.0.0.1:9/x#{secret}",
        f"srt://127.0.0.1:9?passphrase={secret}&timeout=100000", f"rtmp://127.0.0.1:9/app/x?auth={secret}",
        f"nonsense://u:{secret}@host/x", f"RTSP://u:{secret}@127.0.0.1:9/x", f"rtsp://u:{secret}@127.0.0.1:99999/x",
        f"rtsp://u:{secret}@no-such-host.invalid/x", f"https://u:{secret}@127.0.0.1:9/x.m3u8",
        f"rtsp:/u:{secret}@127.0.0.1/x", f"u:{secret}@127.0.0.1", f"@{door}", f"@{slip}", f"@{tmp_path / 'no'}",
        f"rtsp://u:{secret}%@127.0.0.1:9/x", f"rtsp://u:%00{secret}@127.0.0.1:9/x",
    ]
    everything, said = run_program(places, tmp_path, "--jsonl", "out.jsonl")
    assert secret.lower() not in everything.lower()
    assert "Traceback" not in everything
    codes = re.findall(r"^---- \d+ (\d+)$", said, re.MULTILINE)
    assert codes == ["2"] * len(places)
    assert len(re.findall("^error: ", said, re.MULTILINE)) == len(places)


@pytest.mark.parametrize("way", ["file", "environment"])
def test_no_list_of_processes_holds_the_password(tmp_path, way):
    secret = "Xy7zzSecretQ"
    door = tmp_path / "door"
    door.write_text(f"rtsp://admin:{secret}@127.0.0.1:9/live\n")
    program = PROGRAM.split("for i, address")[0] + textwrap.dedent("""
        import subprocess
        from stream.sources import network
        def opened(url, **how):
            print(open("/proc/self/cmdline", "rb").read())
            print(subprocess.run(["env"], capture_output=True).stdout)  # what a child process inherits
            print("opened", url == sys.stdin.read())
            raise SystemExit
        import stream.sources
        stream.sources.open_network = opened
        webcam.main(sys.argv[2:])
    """)
    run = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), *(["--source", f"@{door}"] if way == "file" else [])], cwd=ROOT,
        input=door.read_text().strip(), text=True, capture_output=True, timeout=60, check=False,
        env=os.environ | ({"SLOWFAST_SOURCE": door.read_text()} if way == "environment" else {}),
    )
    assert "opened True" in run.stdout, run.stderr
    assert secret not in run.stdout + run.stderr


@pytest.mark.slow
@pytest.mark.ci
def test_a_run_that_works_is_lost_and_is_refused_says_so_without_the_password(tmp_path):
    secret = "p@s/s#w%rd[Xy7zz"
    with RtspCamera(pictures=60, password=secret) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path), "--jsonl", "-", "--seconds", "4", "--threshold", "0"],
            cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        alarm = threading.Timer(60, process.kill)
        alarm.start()
        process.stdin.write(server.url)
        process.stdin.close()
        lines = []
        for line in process.stdout:
            lines.append(json.loads(line))
            if "people" in lines[-1] and len(lines) == 1:
                server.password = "another"  # from the next connection on it is refused
            if "401" in lines[-1].get("reason", ""):
                server.password = secret
        said = process.stderr.read()
        assert process.wait(60) == 0, said
        alarm.cancel()
    statuses = [(line["status"], line["reason"]) for line in lines if "status" in line]
    assert statuses[0][0] == statuses[1][0] == "offline"
    assert "401" in statuses[1][1]
    assert statuses[2][0] == "online"
    assert all(set(line) == {"schema", "source", "status", "reason", "utc"} for line in lines if "status" in line)
    assert f"rtsp://***@127.0.0.1:{server.port}/live: offline: " in said
    assert f"rtsp://***@127.0.0.1:{server.port}/live: online: pictures are coming again" in said
    assert "Xy7zz" not in said + json.dumps(lines)
    assert "Traceback" not in said
    # Nobody from before the outage is told after it without having been seen again.
    assert [line["people"] for line in lines if "people" in line][-1]
