"""The service on cameras that misbehave, for 90 seconds; the long version is `make soak`."""

import pytest

for package in ("pydantic", "ruamel.yaml", "prometheus_client", "fastapi", "uvicorn", "watchfiles"):
    pytest.importorskip(package)


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.timeout(600)
def test_faults_are_seen_cameras_come_back_and_nothing_is_left_behind():
    from soak import soak

    figures = soak(90, warm_up_s=30)
    assert figures["alive"]
    assert figures["faults"] >= 7
    assert figures["events"]["begun"] > 0
    assert figures["events"]["films"] > 0
    assert figures["events"]["lost"] == 0
    assert figures["longest_seen_s"] < 99
    assert figures["longest_back_s"] < 99
    assert figures["growth_percent"]["threads"] == 0
    assert figures["growth_percent"]["descriptors"] < 5
    assert figures["secrets_in_log"] == figures["tracebacks_in_log"] == 0


@pytest.mark.slow
def test_the_bench_measures_what_the_service_does():
    from stream.service.bench import measure_cameras

    figures = measure_cameras(2, 8)
    assert figures["cameras"] == 2
    assert 0.5 < figures["taken_share"] <= 1
    assert set(figures["answers_per_s"]) == {"busy00", "quiet00"}
    assert figures["answers_per_s"]["busy00"] > 0
    assert figures["cpu"]["reading"] > 0
