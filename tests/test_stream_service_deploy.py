"""What is shipped for running it: the unit, the containers' files and the dashboard say what the service has."""

import json
import re
import shlex
from pathlib import Path

import pytest

pytest.importorskip("pydantic")
pytest.importorskip("prometheus_client")
pytest.importorskip("ruamel.yaml")

from ruamel import yaml

from stream.service.counts import Numbers
from stream.service.metrics import Metrics
from stream.service.snapshot import CameraNow, Snapshot

DEPLOY = Path(__file__).parents[1] / "stream" / "service" / "deploy"


def one_camera():
    numbers = Numbers(taken=1, drops={"late": 1}, reconnects={"silent": 1})
    camera = CameraNow("a", "online", "", True, 0.0, False, True, numbers)
    metrics = Metrics(lambda: Snapshot((camera,), {"search": 1}))
    metrics.delay("a", "total", 0.1)
    return metrics.text().decode()


def test_every_name_and_label_of_the_dashboard_is_one_of_the_metrics():
    dashboard = json.loads((DEPLOY / "grafana.json").read_text())
    text = one_camera()
    rows = {row.split("{")[0].split(" ")[0] for row in text.splitlines() if not row.startswith("#")}
    asked = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    names = set(re.findall(r"slowfast_\w+", asked))
    assert len(names) > 8
    assert names <= rows
    for kind in re.findall(r'kind="(\w+)"', asked):
        assert f'kind="{kind}"' in text


def test_the_containers_run_what_there_is():
    compose = yaml.YAML(typ="safe").load((DEPLOY / "compose.yaml").read_text())
    assert {"slowfast-live", "mosquitto"} <= set(compose["services"])
    for service in compose["services"].values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            here = source.startswith("./") and source not in ("./cameras.yaml", "./.token")
            assert not here or (DEPLOY / source).exists()
    text = (DEPLOY / "Dockerfile").read_text()
    root = DEPLOY.parents[2]
    for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE):
        assert all((root / name).exists() for name in shlex.split(line)[:-1])
    assert json.loads(re.search(r"ENTRYPOINT (\[.*\])", text).group(1)) == ["python", "-m", "stream.serve"]


def test_the_unit_notifies_and_is_watched():
    unit = (DEPLOY / "slowfast-live.service").read_text()
    for line in ("Type=notify", "WatchdogSec=60", "Restart=always", "ExecReload=/bin/kill -HUP $MAINPID"):
        assert f"\n{line}\n" in unit
