"""The session on this machine that evidence is taken from."""

from dataclasses import replace

from health_views import fleet, snapshot_of

from raymon.cluster.discovery import Raylet
from raymon.incident import evidence
from raymon.live.snapshot import TargetState


def test_evidence_follows_a_ray_that_was_started_again(tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "FIND_SECONDS", 0.0)
    following = evidence.Evidence(follow=False)

    def folder(*sessions):
        raylets = [Raylet("", tmp_path / name, tmp_path, name, "10.0.0.1", str(port)) for name, port in sessions]
        monkeypatch.setattr(evidence.discovery, "raylets", lambda: tuple(raylets))
        targets = tuple(TargetState(raylet.metrics_url()) for raylet in raylets)
        following.follow(replace(snapshot_of(fleet(0.1)), targets=targets))
        return following._session and following._session.folder.name

    assert folder() is None
    assert folder(("first", 8001)) == "first"
    assert folder(("second", 8002), ("first", 8001)) == "first", "it still runs"
    assert folder() == "first", "its files outlive it"
    assert folder(("second", 8002)) == "second"
