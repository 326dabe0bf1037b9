"""The one poll loop of tests with real processes: they wait for conditions, never for a time."""

import time


def wait_for(condition, what, seconds=30.0):
    """Polls until `condition()` gives something true and returns that; fails after `seconds`.

    `what` completes the sentence "waited in vain for ..."; it may be a function, called at the end.
    """
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(
                f"waited {seconds:g} s in vain for {what() if callable(what) else what}")
        time.sleep(0.02)
