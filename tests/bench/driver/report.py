"""Tables of medians, spread and ratios; one JSON with all of it; plots."""

import json

from goals import GOALS
from load import say
from results import Figure, number, table

PEERS = ("zookeeper", "etcd")
# Of the tables by point: fields and their heads, as far as rows have them.
FIELDS = (
    ("ops_per_s", "per second"), ("p50_us", "p50 us"), ("p99_us", "p99 us"),
    ("server_us_per_op", "server CPU us/op"), ("client_us_per_op", "client CPU us/op"),
    ("last_p50_us", "last us"), ("set_p50_us", "setter's answer us"),
    ("opened_per_s", "opened/s"), ("kb_per_session", "KB/session"), ("idle_cores", "idle cores"),
    ("outage_ms", "outage ms"), ("ready_ms", "ready ms"), ("resident_mb", "RSS MB"),
    ("growth_mb", "growth MB"), ("disk_mb", "disk MB"), ("other_cores", "other cores"),
)


def _judge(goal, ours, theirs, bound):
    """(ratio of medians, its spread by repetition, reached)."""
    ratio = ours.median / theirs.median if theirs.median else float("inf")
    pairs = [ours.by_repetition[r] / theirs.by_repetition[r]
             for r in ours.by_repetition if theirs.by_repetition.get(r)]
    spread = f" [{number(min(pairs))}..{number(max(pairs))}]" if len(pairs) > 1 else ""
    reached = None if bound is None else (ratio >= bound if goal.more else ratio <= bound)
    return ratio, spread, reached


def judgements(results):
    """Every goal with what was measured, as dicts."""
    found = []
    for goal in GOALS:
        ours = Figure(results, goal.group, goal.point, "conclave", goal.field)
        entry = {"goal": goal.text, "field": goal.field, "conclave": None, "peers": {}}
        if ours:
            entry["conclave"] = {"median": ours.median, "text": ours.text(),
                                 "values": ours.values, "clean": ours.clean}
            if goal.absolute is not None:
                entry["absolute"] = {"bound": goal.absolute,
                                     "reached": ours.median <= goal.absolute}
        for peer in PEERS:
            group, point = goal.other.get(peer, (goal.group, goal.point))
            theirs = Figure(results, group, point, peer, goal.field)
            bound = getattr(goal, peer)
            if not ours or not theirs:
                continue
            ratio, spread, reached = _judge(goal, ours, theirs, bound)
            entry["peers"][peer] = {
                "median": theirs.median, "text": theirs.text(), "values": theirs.values,
                "clean": theirs.clean, "ratio": ratio, "spread": spread, "bound": bound,
                "reached": reached, "more": goal.more}
        found.append(entry)
    return found


def _ratio_text(peer):
    if peer is None:
        return "-"
    text = number(peer["ratio"]) + peer["spread"]
    if peer["bound"] is None:
        return text
    return f"{text} ({'>=' if peer['more'] else '<='} {peer['bound']:g}: " \
           f"{'yes' if peer['reached'] else 'NO'})"


def goal_table(entries):
    rows = []
    for entry in entries:
        ours = entry["conclave"]
        if ours is None:
            continue
        text = ours["text"]
        if "absolute" in entry:
            text += f" (<= {entry['absolute']['bound']:g}: " \
                    f"{'yes' if entry['absolute']['reached'] else 'NO'})"
        peers = [entry["peers"].get(peer) for peer in PEERS]
        rows.append((entry["goal"], text, *[p["text"] if p else "-" for p in peers],
                     *[_ratio_text(p) for p in peers]))
    return table(("figure", "conclave", "zookeeper", "etcd", "ours / zookeeper", "ours / etcd"),
                 rows)


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
    entries = judgements(results)
    parts = ["## Goals", goal_table(entries)]
    for group in results.groups():
        parts += [f"## {group}", group_table(results, group)]
    parts.append("Medians and [least..greatest] of the repetitions that nothing disturbed; ~ marks "
                 "figures of which too few were undisturbed, so that all count.")
    text = "\n\n".join(parts)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "report.md").write_text(text + "\n", encoding="utf-8")
    (options.out / "report.json").write_text(
        json.dumps({"goals": entries, "rows": results.rows}, indent=1) + "\n", encoding="utf-8")
    print(text, flush=True)
    say(f"written: {options.out / 'report.md'}, report.json")
