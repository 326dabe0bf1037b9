"""How much of everything: the full measurement, and the tiny one that shows that it works."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Size:
    repetitions: int
    seconds: float            # of each load
    warm_seconds: float       # before the first; a JVM needs it
    outstanding: tuple        # calls
    keys: int

    def with_seconds(self, seconds):
        return dataclasses.replace(self, seconds=seconds)


FULL = Size(repetitions=3, seconds=2.5, warm_seconds=8.0, outstanding=(1, 16, 64, 256, 1024),
            keys=1_000)
SMOKE = Size(repetitions=1, seconds=0.1, warm_seconds=0.1, outstanding=(1, 64), keys=50)
