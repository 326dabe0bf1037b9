"""What was measured: one JSON object a line, found again by group, point, target and repetition."""

import json
import statistics

# Cores that others used, above which a repetition counts as disturbed.
OTHER_CORES_MAX = 0.3
# The calibration loop may take so many times what it took at its best.
SLOW_FACTOR = 1.1


class Results:
    def __init__(self, path):
        self.path = path
        self.rows = []
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    self.rows.append(json.loads(line))
                except ValueError:
                    continue  # the last line of a run that was cut off

    def add(self, row):
        self.rows.append(row)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def has(self, group, point, target, repetition):
        return any(row["group"] == group and row["point"] == point and row["target"] == target
                   and row["repetition"] == repetition and "failed" not in row
                   for row in self.rows)

    def of(self, group, point, target):
        """The repetitions that succeeded."""
        return [row for row in self.rows
                if row["group"] == group and row["point"] == point and row["target"] == target
                and "failed" not in row and not row.get("errors")]

    def failures(self):
        done = {(row["group"], row["point"], row["target"], row["repetition"])
                for row in self.rows if "failed" not in row}
        return [row for row in self.rows if "failed" in row and
                (row["group"], row["point"], row["target"], row["repetition"]) not in done]

    def groups(self):
        return list(dict.fromkeys(row["group"] for row in self.rows))

    def points(self, group):
        return list(dict.fromkeys(row["point"] for row in self.rows if row["group"] == group))

    def slow_ms(self):
        """The calibration time above which the machine counts as slow; infinite if unknown."""
        times = [row["calibration_ms"] for row in self.rows if "calibration_ms" in row]
        return min(times) * SLOW_FACTOR if times else float("inf")

    def clean(self, rows):
        """(rows that nothing has disturbed, True); (all, False) where fewer than two are left."""
        slow_ms = self.slow_ms()
        quiet = [row for row in rows
                 if abs(row.get("other_cores", 0)) <= OTHER_CORES_MAX
                 and row.get("calibration_ms", 0) <= slow_ms]
        enough = min(2, len(rows))
        return (quiet, True) if len(quiet) >= enough and quiet else (rows, False)


class Figure:
    """One field of one point of one target: median and spread over its clean repetitions."""

    def __init__(self, results, group, point, target, field):
        rows = results.of(group, point, target)
        rows, self.clean = results.clean(rows)
        self.by_repetition = {row["repetition"]: row[field] for row in rows
                              if row.get(field) is not None}
        self.values = list(self.by_repetition.values())

    def __bool__(self):
        return bool(self.values)

    @property
    def median(self):
        return statistics.median(self.values)

    def text(self):
        if not self.values:
            return "-"
        spread = ""
        if len(self.values) > 1:
            spread = f" [{number(min(self.values))}..{number(max(self.values))}]"
        return number(self.median) + spread + ("" if self.clean else " ~")


def number(value):
    """Three digits or more, readable."""
    magnitude = abs(value)
    if magnitude >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if magnitude >= 10 else f"{value:.2f}" if magnitude >= 0.1 \
        else f"{value:.3f}"


def table(heads, rows):
    """A Markdown table."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines)
