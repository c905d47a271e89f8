"""Which exceptions speak of a lost process."""

import pytest

from raymon.incident.loss_errors import names_loss

ACTOR = "0123456789abcdef0123456701000000"


@pytest.mark.parametrize(
    "detail",
    [
        "ActorDiedError: The actor died unexpectedly before finishing this task.",
        "RuntimeError: no healthy workers are left",
        "RuntimeError: worker 3 did not answer",
        f"RuntimeError: cannot call actor {ACTOR}",
        f"KeyError: ActorID({ACTOR})",
        "RuntimeError: the call timed out",
        "GetTimeoutError: Get timed out",
        "TimeoutError",
        "ConnectionResetError: [Errno 104] Connection reset by peer",
        "OSError: connection was closed by the other side",
        "RuntimeError: NCCL communicator was aborted",
    ],
)
def test_exception_that_speaks_of_a_lost_process(detail):
    assert names_loss(detail)


@pytest.mark.parametrize(
    "detail",
    [
        "TypeError: f() got an unexpected keyword argument 'timeout'",
        "AssertionError: all workers must return equal shapes",
        "FileNotFoundError: '/data/0123456789abcdef01234567/x.npy'",
        "RuntimeError: connections.weight has wrong shape",
        "KeyError: 'worker_3'",
        "KeyError: 'advantages', in exception_in_learner (death_cases.py:3)",
    ],
)
def test_exception_of_the_code_itself(detail):
    assert not names_loss(detail)
