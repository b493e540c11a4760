import threading

import pytest

from stream.handoff import Closed, Handoff


def test_full_queue_drops_the_oldest_and_counts_it():
    queue = Handoff(2, "drop_oldest")
    for item in range(5):
        queue.put(item)
    assert (queue.get(), queue.get(), queue.dropped) == (3, 4, 3)


def test_full_queue_makes_the_writer_wait_until_there_is_room():
    queue, written = Handoff(1), []

    def write():
        for item in range(3):
            queue.put(item)
            written.append(item)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    assert [queue.get(5), queue.get(5), queue.get(5)] == [0, 1, 2]
    writer.join(5)
    assert not writer.is_alive()
    assert written == [0, 1, 2]
    assert queue.dropped == 0


def test_closing_wakes_a_writer_that_waits_for_room():
    queue, outcome = Handoff(1), []
    queue.put(0)

    def write():
        try:
            queue.put(1)
        except Closed:
            outcome.append("closed")

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    queue.close()
    writer.join(5)
    assert outcome == ["closed"]


def test_reader_gets_what_is_left_and_then_the_first_error():
    queue = Handoff(3)
    queue.put("a")
    queue.close(OSError("first"))
    queue.close(ValueError("second"))
    assert queue.get() == "a"
    for _ in range(2):
        with pytest.raises(OSError, match="first"):
            queue.get()


def test_closed_queue_ends_the_reader_and_discards_when_told():
    queue = Handoff(3)
    queue.put("a")
    queue.close(discard=True)
    with pytest.raises(Closed):
        queue.get()
    with pytest.raises(Closed):
        queue.put("b")


def test_waiting_too_long_is_a_timeout():
    with pytest.raises(TimeoutError):
        Handoff(1).get(timeout_s=0.0)


def test_capacity_must_be_positive():
    with pytest.raises(ValueError, match="got 0"):
        Handoff(0)


def test_it_says_whether_it_is_closed():
    queue = Handoff(1)
    assert queue.closed is False
    queue.close()
    assert queue.closed is True
