"""Pictures of what was measured. Without matplotlib there are none, and that is said."""

import importlib

from load import say
from results import Figure

COLOURS = {"conclave": "tab:blue", "zookeeper": "tab:orange", "etcd": "tab:green"}
OPS = (("sets", "set"), ("gets", "get"), ("gets", "localget"), ("mixes", "mixed"))
AXES = (("axis-znodes", "znodes"), ("axis-sessions", "sessions"), ("axis-watches", "watches"))


def _pyplot():
    try:
        importlib.import_module("matplotlib").use("Agg")
        return importlib.import_module("matplotlib.pyplot")
    except ImportError:
        return None


def _series(results, group, prefix, target, field):
    """(sizes, medians) of the points PREFIX-NUMBER."""
    found = {}
    for point in results.points(group):
        name, _, size = point.rpartition("-")
        if name == prefix and size.isdigit():
            figure = Figure(results, group, point, target, field)
            if figure:
                found[int(size)] = figure.median
    return sorted(found), [found[size] for size in sorted(found)]


def _panel(axes, title, x_label, y_label):
    axes.set_title(title)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(True, which="both", alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small")


def _logarithmic(axes, y_too=True):
    axes.set_xscale("log", base=2)
    if y_too:
        axes.set_yscale("log")


def _by_outstanding(pyplot, results, members):
    """Throughput above, latency percentiles below; None if nothing of it was measured."""
    figure, panels = pyplot.subplots(2, len(OPS), figsize=(5 * len(OPS), 9))
    drawn = False
    for column, (group, op) in enumerate(OPS):
        for target, colour in COLOURS.items():
            sizes, rates = _series(results, f"{group}-{members}", op, target, "ops_per_s")
            if not sizes:
                continue
            drawn = True
            panels[0][column].plot(sizes, rates, "o-", color=colour, label=target)
            for field, style in (("p50_us", "-"), ("p99_us", "--"), ("p999_us", ":")):
                sizes, times = _series(results, f"{group}-{members}", op, target, field)
                panels[1][column].plot(sizes, times, style, color=colour,
                                       label=f"{target} {field[:-3]}")
        for row, label in ((0, "per second"), (1, "microseconds")):
            _logarithmic(panels[row][column])
            _panel(panels[row][column], f"{op}, {members} member(s)", "outstanding calls", label)
    return figure if drawn else None


def _costs(pyplot, results):
    figure, panels = pyplot.subplots(1, len(AXES) + 1, figsize=(5 * (len(AXES) + 1), 4.5))
    drawn = False
    for panel, (group, name) in zip(panels, AXES):
        for op in ("set", "get"):
            sizes, costs = _series(results, group, op, "conclave", "server_us_per_op")
            if sizes:
                drawn = True
                panel.plot(sizes, costs, "o-", label=op)
        panel.set_xscale("symlog")
        panel.set_ylim(bottom=0)
        _panel(panel, f"cost against {name}", name, "server CPU us/op")
    for target, colour in COLOURS.items():
        found = {}
        for point in results.points("members"):
            cost = Figure(results, "members", point, target, "server_us_per_op")
            _, members, _, outstanding = point.split("-")
            if cost and outstanding != "1":
                found[int(members)] = cost.median
        if found:
            drawn = True
            panels[-1].plot(sorted(found), [found[m] for m in sorted(found)], "o-", color=colour,
                            label=target)
    _panel(panels[-1], "cost of a set against members", "members", "server CPU us/op, all members")
    return figure if drawn else None


def draw(results, directory):
    """Names of the files made."""
    pyplot = _pyplot()
    if pyplot is None:
        say("no plots: python3-matplotlib is not installed (deploy/install-deps --for bench)")
        return []
    made = []
    figures = {f"load-{members}.png": _by_outstanding(pyplot, results, members)
               for members in (1, 3)}
    figures["cost.png"] = _costs(pyplot, results)
    for name, figure in figures.items():
        if figure is not None:
            figure.tight_layout()
            figure.savefig(directory / name, dpi=100)
            made.append(name)
    pyplot.close("all")
    return made
