"""One call of tests/bench/compare: what groups of figures have in common.

In a group whose servers run side by side the targets are measured in turn, repetition by
repetition, so that a slow phase of the machine meets all of them.
"""

import contextlib

from goals import GOALS
from load import Step, say
from servers import Failure


class Run:
    """Settings, results and loader."""

    def __init__(self, settings, results, loader):
        self.settings = settings
        self.results = results
        self.loader = loader
        self.given_up = []  # "group: target" that could not be prepared

    @property
    def size(self):
        return self.settings.size

    def cluster(self, target, members):
        return self.settings.targets[target](self.settings, members)

    def targets(self, *wanted):
        return [name for name in self.settings.targets if not wanted or name in wanted]

    def repetitions(self, count=None):
        return range(1, (count or self.size.repetitions) + 1)

    def missing(self, group, points, targets, count=None):
        """Whether anything of it is still to be measured."""
        return any(not self.results.has(group, point, target, repetition)
                   for point in points for target in targets
                   for repetition in self.repetitions(count))

    def wants(self, group, point):
        """False: --goals leaves it out, no goal being judged by it."""
        return not self.settings.goals or any(goal.group == group and goal.point == point
                                              for goal in GOALS)

    def missing_step(self, group, point, target, repetition):
        return not self.results.has(group, point, target, repetition)

    def warm_up(self, cluster, figure, **options):
        """Not recorded; what it found. A failure is told and repeated twice, then fatal."""
        for _ in range(3):
            found = self.loader.run(cluster, figure, **options)
            if "failed" not in found and not found.get("missing"):
                return found
            say(f"{cluster.target}: {figure} before the measurement: {found}")
        raise RuntimeError(f"{cluster.target} cannot be prepared: {found}")

    def warm(self, cluster, seconds):
        """Mixed load, then sets; what a JVM needs before it is measured."""
        for op, outstanding, part in (("mixed", 64, 1.0), ("set", 256, 0.75)):
            self.warm_up(cluster, "load", op=op, outstanding=outstanding, keys=self.size.keys,
                         seconds=seconds * part, warmup_seconds=0)

    def fill(self, cluster, keys, **options):
        return self.warm_up(cluster, "populate", keys=keys, **{"outstanding": 64, **options})

    @contextlib.contextmanager
    def started(self, targets, members):
        """Clusters of all targets, empty."""
        with contextlib.ExitStack() as stack:
            clusters = [stack.enter_context(self.cluster(target, members)) for target in targets]
            for cluster in clusters:
                cluster.start()
            yield clusters

    def those_prepared(self, group, clusters, prepare):
        """The clusters on which `prepare` has succeeded; the others are told of, and stopped."""
        left = []
        for cluster in clusters:
            try:
                prepare(cluster)
                left.append(cluster)
            except (Failure, RuntimeError) as error:
                say(f"{group}: without {cluster.target}: {error}")
                self.given_up.append(f"{group}: {cluster.target}")
                cluster.close()
        if not left:
            raise RuntimeError("no target is left")
        return left

    @contextlib.contextmanager
    def prepared(self, group, targets, members):
        """Clusters of all targets that can be, with the first znodes and warm."""
        def prepare(cluster):
            cluster.start()
            self.fill(cluster, self.size.keys)
            self.warm(cluster, self.size.warm_seconds)
        with contextlib.ExitStack() as stack:
            clusters = [stack.enter_context(self.cluster(target, members)) for target in targets]
            yield self.those_prepared(group, clusters, prepare)

    def side_by_side(self, group, members, points, *wanted):
        """`points`: name to (figure, options)."""
        points = {name: point for name, point in points.items() if self.wants(group, name)}
        targets = self.targets(*wanted)
        if self.missing(group, points, targets):
            with self.prepared(group, targets, members) as clusters:
                self.in_turn(group, clusters, points)

    def in_turn(self, group, clusters, points):
        for repetition in self.repetitions():
            for point, (figure, options) in points.items():
                for cluster in clusters:
                    self.loader.measure(Step(group, point, repetition), cluster, figure, **options)

    def load(self, op, outstanding, value_bytes=100, connections=0):
        """A point: one load."""
        options = {"op": op, "outstanding": outstanding, "value_bytes": value_bytes,
                   "keys": self.size.keys, "seconds": self.size.seconds,
                   "warmup_seconds": self.size.lead_in_seconds}
        if connections:
            options["connections"] = connections
        return "load", options
