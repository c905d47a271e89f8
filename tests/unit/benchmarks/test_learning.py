"""The benchmark of learning: the trainer accepts its commands, and it writes its page."""

import pytest
from support import ROOT

from benchmarks.learning import MARK, TASKS, Outcome, table, train_command, write
from raymon.envs import make_vector
from raymon.train import command


@pytest.mark.parametrize("env", TASKS)
def test_the_trainer_accepts_every_command(env):
    arguments = train_command(env, 7, 1234)
    assert arguments[0] == "train"
    config = command.parse(arguments[1:])
    config.check()
    assert (config.env, config.seed, config.total_env_steps) == (env, 7, 1234)
    make_vector(env, 1, seed=1, worker=0).close()


def test_the_table_shows_every_run_and_published_result(tmp_path):
    runs = [Outcome(1, 1000, 10.0, 1.0, 271.34, 22.0), Outcome(2, 1100, 12.0, None, -3.0, 1.5)]
    text = table({"LunarLander-v3": runs})
    row = next(line for line in text.splitlines() if line.startswith("| LunarLander-v3"))
    assert row.split(" | ")[1:5] == ["1,050", "1, 2", "271.3 ± 22.0, -3.0 ± 1.5", "11 s"]
    assert "242.1 ± 31.8 (LunarLander-v2) | 1,000,000" in row
    assert "raymon train --env LunarLander-v3" in text
    page = tmp_path / "learning.md"
    page.write_text((ROOT / "docs/learning.md").read_text())
    for _ in range(2):
        write(page, text)
    assert page.read_text().count("| LunarLander-v3 |") == 1
    assert page.read_text().endswith(f"{MARK}\n\n{text}")
    page.write_text("no mark")
    with pytest.raises(ValueError, match="lacks the line"):
        write(page, text)
