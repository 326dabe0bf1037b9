"""Tables of medians, spread and ratios; one JSON with all of it; plots."""

import json

import plots
from goals import AXES, GOALS
from load import say
from results import Figure, number, table

PEERS = ("zookeeper", "etcd")
NOTE = ("Medians and [least..greatest] of the repetitions that nothing disturbed; ~ marks figures "
        "of which too few were undisturbed, so that all count.")
# Of the tables by point: fields and their heads, as far as rows have them.
FIELDS = (
    ("ops_per_s", "per second"), ("p50_us", "p50 us"), ("p99_us", "p99 us"),
    ("server_us_per_op", "server CPU us/op"), ("client_us_per_op", "client CPU us/op"),
    ("write_calls_per_op", "write calls/op"), ("flushes_per_s", "flushes/s"),
    ("last_p50_us", "last us"), ("set_p50_us", "setter's answer us"),
    ("opened_per_s", "opened/s"), ("kb_per_session", "KB/session"), ("idle_cores", "idle cores"),
    ("outage_ms", "outage ms"), ("first_success_ms", "first success ms"), ("ready_ms", "ready ms"),
    ("resident_mb", "RSS MB"), ("growth_mb", "growth MB"), ("disk_mb", "disk MB"),
    ("capacity_per_s", "capacity/s"), ("served_per_s", "served/s"), ("sent", "sent"),
    ("refused", "refused"), ("past_deadline", "past deadline"),
    ("not_sent", "not sent"), ("refused_p99_us", "refusal p99 us"),
    ("unloaded_p99_us", "unloaded p99 us"), ("memory_ratio", "memory ratio"),
    ("p99_ratio", "p99 ratio"), ("recovery_seconds", "recovery s"),
    ("other_cores", "other cores"),
)


def _judge(goal, ours, theirs, bound):
    """(ratio of medians, its spread by repetition, reached)."""
    ratio = ours.median / theirs.median if theirs.median else float("inf")
    pairs = [ours.by_repetition[r] / theirs.by_repetition[r]
             for r in ours.by_repetition if theirs.by_repetition.get(r)]
    spread = f" [{number(min(pairs))}..{number(max(pairs))}]" if len(pairs) > 1 else ""
    return ratio, spread, None if bound is None else _reached(goal, ratio, bound)


def _reached(goal, value, bound):
    return value >= bound if goal.more else value <= bound


def judgements(results):
    """Every goal with what was measured, as dicts."""
    found = []
    for goal in GOALS:
        ours = Figure(results, goal.group, goal.point, "conclave", goal.field)
        entry = {"goal": goal.text, "field": goal.field, "more": goal.more, "conclave": None,
                 "peers": {}}
        found.append(entry)
        if not ours:
            continue
        entry["conclave"] = {"median": ours.median, "text": ours.text(), "values": ours.values,
                             "clean": ours.clean}
        if goal.absolute is not None:
            entry["absolute"] = {"bound": goal.absolute,
                                 "reached": _reached(goal, ours.median, goal.absolute)}
        for peer in PEERS:
            theirs = Figure(results, goal.group, goal.point, peer, goal.field)
            bound = getattr(goal, peer)
            if theirs:
                ratio, spread, reached = _judge(goal, ours, theirs, bound)
                entry["peers"][peer] = {
                    "median": theirs.median, "text": theirs.text(), "values": theirs.values,
                    "clean": theirs.clean, "ratio": ratio, "spread": spread, "bound": bound,
                    "reached": reached}
    return found


def _bound_text(more, bound, reached):
    return f" ({'>=' if more else '<='} {bound:,.4g}: {'yes' if reached else 'NO'})"


def _ratio_text(entry, peer):
    found = entry["peers"].get(peer)
    if found is None:
        return "-"
    text = number(found["ratio"]) + found["spread"]
    if found["bound"] is None:
        return text
    return text + _bound_text(entry["more"], found["bound"], found["reached"])


def goal_table(entries):
    rows = []
    for entry in entries:
        if entry["conclave"] is None:
            continue
        ours = entry["conclave"]["text"]
        if "absolute" in entry:
            ours += _bound_text(entry["more"], **entry["absolute"])
        theirs = [entry["peers"][peer]["text"] if peer in entry["peers"] else "-"
                  for peer in PEERS]
        rows.append((entry["goal"], ours, *theirs, *[_ratio_text(entry, peer) for peer in PEERS]))
    return table(("figure", "conclave", "zookeeper", "etcd", "ours / zookeeper", "ours / etcd"),
                 rows)


def axes(results):
    """By axis and call: server CPU of each size, and the dearest by the cheapest."""
    found = []
    for group, bound in AXES.items():
        by_op = {}
        for point in results.points(group):
            op, _, size = point.rpartition("-")
            figure = Figure(results, group, point, "conclave", "server_us_per_op")
            if figure and figure.median > 0:
                by_op.setdefault(op, {})[int(size)] = figure.median
        for op, costs in by_op.items():
            ratio = max(costs.values()) / min(costs.values())
            found.append({"axis": group, "op": op, "server_us_per_op": costs, "ratio": ratio,
                          "bound": bound, "reached": ratio <= bound})
    return found


def axis_table(found):
    return table(("axis", "call", "server CPU us/op by size", "dearest / cheapest"), [
        (entry["axis"], entry["op"],
         ", ".join(f"{size:,}: {number(cost)}" for size, cost in
                   sorted(entry["server_us_per_op"].items())),
         number(entry["ratio"]) + _bound_text(False, entry["bound"], entry["reached"]))
        for entry in found])


def group_table(results, group):
    rows = [row for row in results.rows if row["group"] == group and "failed" not in row]
    fields = [(field, head) for field, head in FIELDS if any(field in row for row in rows)]
    targets = list(dict.fromkeys(row["target"] for row in rows))
    body = []
    for point in results.points(group):
        for target in targets:
            cells = [Figure(results, group, point, target, field) for field, _ in fields]
            if any(cells):
                count = max(len(cell.values) for cell in cells)
                body.append((point, target, *[cell.text() for cell in cells], count))
    return table(("point", "target", *[head for _, head in fields], "n"), body)


def write(options, results):
    """To standard output, report.md and report.json; and plots if matplotlib is there."""
    entries, axes_found = judgements(results), axes(results)
    parts = ["## Goals", goal_table(entries), NOTE]
    if axes_found:
        parts += ["## Cost of what is unrelated", axis_table(axes_found)]
    for group in results.groups():
        parts += [f"## {group}", group_table(results, group)]
    text = "\n\n".join(parts)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "report.md").write_text(text + "\n", encoding="utf-8")
    (options.out / "report.json").write_text(
        json.dumps({"goals": entries, "axes": axes_found, "rows": results.rows}, indent=1) + "\n",
        encoding="utf-8")
    print(text, flush=True)
    drawn = plots.draw(results, options.out)
    say(f"written to {options.out}: {', '.join(['report.md', 'report.json', *drawn])}")
