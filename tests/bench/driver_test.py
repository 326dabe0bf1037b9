#!/usr/bin/python3
"""What the driver makes of rows: medians, disturbed repetitions, ratios, resumption."""

import json
import pathlib
import sys
import tempfile
import types
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "driver"))
# pylint: disable=wrong-import-position
import report
from goals import AXES, GOALS
from groups import GROUPS
from results import Figure, Results, number, table
from run import Run
from servers import Failure
from sizes import FULL


def row(target, repetition, **fields):
    return {"group": "sets-3", "point": "set-64", "target": target, "repetition": repetition,
            "calibration_ms": 16.0, "other_cores": 0.0, **fields}


class DriverTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = pathlib.Path(directory.name) / "results.jsonl"
        self.results = Results(self.path)

    def figure(self, target="conclave", field="ops_per_s"):
        return Figure(self.results, "sets-3", "set-64", target, field)

    def test_rows_come_back_and_the_last_half_line_of_a_cut_off_run_is_ignored(self):
        self.results.add(row("conclave", 1, ops_per_s=5))
        with open(self.path, "a", encoding="utf-8") as file:
            file.write('{"group": "sets-3", "poi')
        again = Results(self.path)
        self.assertEqual(self.results.rows, again.rows)
        self.assertTrue(again.has("sets-3", "set-64", "conclave", 1))
        self.assertFalse(again.has("sets-3", "set-64", "conclave", 2))
        self.assertFalse(again.has("sets-3", "set-64", "etcd", 1))

    def test_a_failed_repetition_is_measured_again_and_then_no_failure_any_more(self):
        self.results.add(row("etcd", 1, failed="why"))
        self.assertFalse(self.results.has("sets-3", "set-64", "etcd", 1))
        self.assertEqual(1, len(self.results.failures()))
        self.results.add(row("etcd", 1, ops_per_s=1))
        self.assertEqual([], self.results.failures())
        self.assertEqual([1], self.figure("etcd").values)

    def test_disturbed_repetitions_are_left_out_where_two_others_are_there(self):
        for repetition, (rate, other) in enumerate(((10, 0.0), (1, 1.5), (12, 0.1)), 1):
            self.results.add(row("conclave", repetition, ops_per_s=rate, other_cores=other))
        self.assertEqual([10, 12], self.figure().values)
        self.assertEqual(11, self.figure().median)
        self.assertNotIn("~", self.figure().text())

    def test_a_slow_machine_counts_as_a_disturbance(self):
        for repetition, (rate, calibration) in enumerate(((10, 16.0), (1, 18.0), (12, 17.0)), 1):
            self.results.add(row("conclave", repetition, ops_per_s=rate,
                                 calibration_ms=calibration))
        self.assertEqual([10, 12], self.figure().values)

    def test_where_too_few_are_undisturbed_all_count_and_are_marked(self):
        for repetition, (rate, other) in enumerate(((10, 0.0), (1, 1.5), (2, 1.5)), 1):
            self.results.add(row("conclave", repetition, ops_per_s=rate, other_cores=other))
        self.assertEqual([10, 1, 2], self.figure().values)
        self.assertTrue(self.figure().text().endswith("~"))

    def test_repetitions_with_errors_do_not_count(self):
        self.results.add(row("conclave", 1, ops_per_s=10, errors=3))
        self.assertFalse(self.figure())

    def test_a_goal_is_judged_by_the_ratio_of_medians(self):
        for repetition, (ours, theirs) in enumerate(((30, 10), (40, 10), (35, 14)), 1):
            self.results.add(row("conclave", repetition, ops_per_s=ours))
            self.results.add(row("zookeeper", repetition, ops_per_s=theirs))
            self.results.add(row("etcd", repetition, ops_per_s=theirs))
        judged = {entry["goal"]: entry for entry in report.judgements(self.results)}
        entry = judged["set, 64 outstanding, per second"]
        self.assertEqual(3.5, entry["peers"]["zookeeper"]["ratio"])
        self.assertTrue(entry["peers"]["zookeeper"]["reached"])   # at least 3
        self.assertFalse(entry["peers"]["etcd"]["reached"])       # at least 5.5
        self.assertEqual(" [2.50..4.00]", entry["peers"]["etcd"]["spread"])
        text = report.goal_table(report.judgements(self.results))
        self.assertIn("3.50 [2.50..4.00] (>= 3: yes)", text)
        self.assertIn("(>= 5.5: NO)", text)

    def test_a_goal_by_itself_is_judged_without_peers(self):
        self.results.add({"group": "sessions", "point": "sessions-10000", "target": "conclave",
                          "repetition": 1, "kb_per_session": 9.5})
        (entry,) = [entry for entry in report.judgements(self.results) if entry["conclave"]]
        self.assertEqual({"bound": 9, "reached": False}, entry["absolute"])
        self.assertIn("9.50 (<= 9: NO)", report.goal_table([entry]))

    def test_an_axis_is_judged_by_its_dearest_and_its_cheapest_size(self):
        for size, cost in ((10, 4.0), (100, 5.0), (1000, 4.4)):
            self.results.add({"group": "axis-sessions", "point": f"set-{size}", "repetition": 1,
                              "target": "conclave", "server_us_per_op": cost})
        (entry,) = report.axes(self.results)
        self.assertEqual(1.25, entry["ratio"])
        self.assertTrue(entry["reached"])
        self.assertIn("10: 4.00, 100: 5.00, 1,000: 4.40", report.axis_table([entry]))

    def test_every_goal_and_axis_belongs_to_a_group(self):
        self.assertEqual(set(), {goal.group for goal in GOALS} - set(GROUPS))
        self.assertEqual(set(), set(AXES) - set(GROUPS))
        self.assertEqual(len(GOALS), len({goal.text + goal.group for goal in GOALS}))

    def test_goals_alone_leaves_out_the_points_that_none_is_judged_by(self):
        for goals, wanted in ((False, True), (True, False)):
            settings = types.SimpleNamespace(goals=goals, size=FULL, targets={})
            run = Run(settings, self.results, None)
            self.assertTrue(run.wants("sets-3", "set-64"))
            self.assertEqual(wanted, run.wants("sets-3", "set-16"))
            self.assertEqual(wanted, run.wants("axis-znodes", "set-1000"))

    def test_a_target_that_cannot_be_prepared_leaves_the_others_in_the_group(self):
        closed = []

        class Cluster:
            def __init__(self, target):
                self.target = target

            def close(self):
                closed.append(self.target)

        def prepare(cluster):
            if cluster.target != "conclave":
                raise Failure("no leader")

        settings = types.SimpleNamespace(goals=False, size=FULL, targets={})
        run = Run(settings, self.results, None)
        good, bad = Cluster("conclave"), Cluster("etcd")
        self.assertEqual([good], run.those_prepared("sets-3", [bad, good], prepare))
        self.assertEqual(["etcd"], closed)
        self.assertEqual(["sets-3: etcd"], run.given_up)
        self.assertRaises(RuntimeError, run.those_prepared, "sets-3", [bad], prepare)

    def test_numbers_and_tables(self):
        self.assertEqual(["12,346", "12.3", "1.23", "0.012"],
                         [number(value) for value in (12345.6, 12.34, 1.234, 0.0123)])
        self.assertEqual("| a | b |\n|---|---|\n| 1 | 2 |", table(("a", "b"), [(1, 2)]))
        json.dumps(report.judgements(self.results))


if __name__ == "__main__":
    unittest.main()
