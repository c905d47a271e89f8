"""`raymon demo` plays a scene on a real Ray."""

import json

from support import ROOT, Command, poll, short_folder


def test_the_crash_scene_is_played_to_its_end():
    with short_folder() as folder:
        options = [
            "--fault",
            "crash",
            "--after",
            "1",
            "--no-page",
            "--no-dashboard",
            "--name",
            "d",
            "--workers",
            "2",
            "--total-env-steps",
            "1000000000",
            "--runs",
            str(folder / "runs"),
            "--ray-temp-dir",
            str(folder / "ray"),
        ]
        with Command("demo", *options, cwd=ROOT) as demo:
            poll(lambda: demo.text().count("worker 1 lost (killed)") >= 3, 200, "three losses")
            demo.interrupt()
            assert demo.wait(60) == 130, demo.text()
            text = demo.text()
        summary = json.loads((folder / "runs/d/summary.json").read_text())
    assert "From 1 seconds on: worker 1 is killed three times" in text
    assert summary["ledger"]["losses"] == {"killed": 3}
    assert summary["ledger"]["restarts"] in (2, 3)
    assert summary["ledger"]["balanced"]
