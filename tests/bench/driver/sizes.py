"""How much of everything: the full measurement, and the tiny one that shows that it works."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Size:
    repetitions: int
    seconds: float             # of each load
    lead_in_seconds: float     # of each load, before it counts
    warm_seconds: float        # before the first; a JVM needs it
    outstanding: tuple         # calls
    keys: int
    watchers: tuple
    fanout_rounds: int
    sessions: tuple
    session_repetitions: int
    idle_seconds: float
    members: tuple
    axis_loads: tuple          # calls outstanding, of the axis of members
    kills: int
    stops: int
    outage_factor: float       # on the seconds of an outage and other waits
    starts: int
    million: int
    million_repetitions: int
    restarts: int              # of each of them
    axis_znodes: tuple
    axis_sessions: tuple
    axis_watches: tuple
    axis_watch_sessions: int
    sync_ms: tuple
    slow_loads: tuple          # calls outstanding
    overload_seconds: float
    overload_repetitions: int

    def with_seconds(self, seconds):
        return dataclasses.replace(self, seconds=seconds)

    def with_repetitions(self, count):
        """Of everything."""
        return dataclasses.replace(
            self, repetitions=count, session_repetitions=count, kills=count, stops=count,
            starts=count, million_repetitions=count, overload_repetitions=count)


FULL = Size(
    repetitions=3, seconds=2.5, lead_in_seconds=0.5, warm_seconds=8.0,
    outstanding=(1, 16, 64, 256, 1024), keys=1_000,
    watchers=(100, 1_000, 5_000), fanout_rounds=11,
    sessions=(1_000, 10_000), session_repetitions=3, idle_seconds=12.0,
    members=(1, 2, 3, 4, 5), axis_loads=(1, 256),
    kills=30, stops=10, outage_factor=1.0, starts=8,
    million=1_000_000, million_repetitions=2, restarts=3,
    axis_znodes=(1_000, 10_000, 100_000, 1_000_000), axis_sessions=(10, 100, 1_000, 10_000),
    axis_watches=(0, 1_000, 10_000, 100_000), axis_watch_sessions=100,
    sync_ms=(2, 10), slow_loads=(1, 256), overload_seconds=30.0, overload_repetitions=1)
SMOKE = Size(
    repetitions=1, seconds=0.1, lead_in_seconds=0.02, warm_seconds=0.1,
    outstanding=(1, 64), keys=20,
    watchers=(10,), fanout_rounds=2,
    sessions=(20,), session_repetitions=1, idle_seconds=0.2,
    members=(2,), axis_loads=(64,),
    kills=1, stops=1, outage_factor=0.5, starts=1,
    million=500, million_repetitions=1, restarts=1,
    axis_znodes=(100, 200), axis_sessions=(5, 10), axis_watches=(0, 20), axis_watch_sessions=5,
    sync_ms=(2,), slow_loads=(16,), overload_seconds=0.5, overload_repetitions=1)
