import threading
import time

import pytest

from aepretrain.data.lock import locked


def test_a_lock_that_is_removed_while_held_lets_one_in_at_a_time(tmp_path):
    inside, together = [], []

    def work(name):
        for _ in range(5):
            with locked(tmp_path / ".lock"):
                inside.append(name)
                together.append(len(inside))
                time.sleep(0.002)
                inside.remove(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == [1] * 15
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_another_holds_is_not_waited_for_where_nobody_wants_to(tmp_path):
    with locked(tmp_path / ".lock"), pytest.raises(OSError, match="lock"), locked(tmp_path / ".lock", wait=False):
        pass
    assert list(tmp_path.iterdir()) == []
