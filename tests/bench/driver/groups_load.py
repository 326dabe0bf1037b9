"""Figures of load: sets, gets, a mix, fan-out, sessions."""

from load import Step


def sets(run, group, members):
    outstanding = run.size.outstanding
    points = {f"set-{o}": run.load("set", o) for o in outstanding}
    points |= {f"set-{o}-1KiB": run.load("set", o, value_bytes=1024) for o in outstanding}
    points |= {f"set-{o}-4conns": run.load("set", o, connections=4)
               for o in outstanding if o >= 64}
    run.side_by_side(group, members, points)


def _gets(run):
    outstanding = run.size.outstanding
    points = {f"{op}-{o}": run.load(op, o) for op in ("get", "localget") for o in outstanding}
    points |= {f"{op}-{o}-4conns": run.load(op, o, connections=4)
               for op in ("get", "localget") for o in outstanding if o >= 64}
    return points


def gets(run, group, members):
    run.side_by_side(group, members, _gets(run))


def fresh_gets(run, group, members):
    """All restarted after the znodes were made: etcd's read buffer remembers bursts of writes."""
    points = {name: point for name, point in _gets(run).items()
              if not name.endswith("conns") and run.wants(group, name)}
    targets = run.targets()
    if not run.missing(group, points, targets):
        return

    def restarted(cluster):
        run.fill(cluster, run.size.keys)
        cluster.restart()
        run.warm_up(cluster, "load", op="get", outstanding=64, keys=run.size.keys,
                    seconds=run.size.warm_seconds)
    with run.started(targets, members) as clusters:
        run.in_turn(group, run.those_prepared(group, clusters, restarted), points)


def mixes(run, group, members):
    run.side_by_side(group, members,
                     {f"mixed-{o}": run.load("mixed", o) for o in run.size.outstanding})


def fanout(run, group, members):
    run.side_by_side(group, members, {
        f"watchers-{w}": ("fanout", {"watchers": w, "rounds": run.size.fanout_rounds})
        for w in run.size.watchers})


def sessions(run, group, members):
    """A new server for each burst. Those that compile while they run are warmed by some sets."""
    for repetition in run.repetitions(run.size.session_repetitions):
        for count in run.size.sessions:
            for target in run.targets():
                step = Step(group, f"sessions-{count}", repetition)
                if run.results.has(step.group, step.point, target, step.repetition) or \
                        not run.wants(group, step.point):
                    continue
                with run.started([target], members) as (cluster,):
                    if target != "conclave":
                        run.fill(cluster, 1)
                        run.warm_up(cluster, "load", op="set", outstanding=64, keys=1,
                                    seconds=run.size.warm_seconds / 2)
                    run.loader.measure(step, cluster, "sessions", sessions=count,
                                       seconds=run.size.idle_seconds)


def members_axis(run, group):
    """Sets by number of members, for all targets."""
    for members in run.size.members:
        points = {f"members-{members}-set-{o}": run.load("set", o) for o in run.size.axis_loads}
        run.side_by_side(group, members, points)


GROUPS = {}
for _members, _word in ((1, "one member"), (3, "three members")):
    for _name, _function, _text in (
            ("sets", sets, "sets of 100 B and 1 KiB, 1 to 1024 outstanding"),
            ("gets", gets, "gets after writes, linearizable and of the session"),
            ("fresh-gets", fresh_gets, "the same on servers restarted after the znodes were made"),
            ("mixes", mixes, "80 % gets, 20 % sets"),
            ("fanout", fanout, "one set, up to 5,000 watchers")):
        GROUPS[f"{_name}-{_members}"] = (
            lambda run, f=_function, n=f"{_name}-{_members}", m=_members: f(run, n, m),
            f"{_text}; {_word}")
GROUPS["sessions"] = (lambda run: sessions(run, "sessions", 1),
                      "bursts of up to 10,000 sessions, then idle; one member")
GROUPS["members"] = (lambda run: members_axis(run, "members"), "sets on one to five members")
