#!/usr/bin/env python3
"""conclave member, against a cluster of one: what it prints, refuses and returns."""

import json
import unittest

from command import CommandTest, free_port, run


class MemberTest(CommandTest):
    def setUp(self):
        super().setUp()
        for member in self.listed()["members"]:
            if member["id"] != 1:
                self.member_command("remove", member["id"])

    def member_command(self, *arguments, expect=0):
        done = run("member", *arguments, endpoint=self.member.endpoint)
        self.assertEqual(expect, done.returncode, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def listed(self):
        return json.loads(self.member_command("list", "-o", "json"))

    def test_the_list_says_who_votes_and_leads(self):
        listed = self.listed()
        self.assertEqual(1, listed["leader"])
        (member,) = listed["members"]
        self.assertEqual((1, "voter", "leader", True, ""),
                         tuple(member[field] for field in ("id", "kind", "role", "reachable",
                                                           "problem")))
        self.assertEqual(self.member.endpoint, member["client_address"])
        self.assertRegex(member["incarnation"], "^[0-9a-f]{16}$")
        table = self.member_command("list")
        self.assertRegex(table, r"ID\s+KIND\s+ROLE")
        self.assertRegex(table, r"1\s+voter\s+leader\s+\d+\s+100 %")

    def test_a_member_is_added_once_and_removed_once(self):
        address = f"127.0.0.1:{free_port()}"
        self.assertIn("is a learner; it becomes a voter",
                      self.member_command("add", f"2={address}"))
        self.assertIn("nothing to do", self.member_command("add", f"2={address}"))
        added = self.listed()["members"][1]
        self.assertEqual(("learner", address, False), (added["kind"], added["peer_address"],
                                                       added["reachable"]))
        self.assertIn("--join", added["problem"])
        self.assertIn("member 2: ", self.member_command("list"))
        moved = f"127.0.0.1:{free_port()}"
        self.assertIn("is at", self.member_command("update", f"2={moved}"))
        self.assertEqual(moved, self.listed()["members"][1]["peer_address"])
        done = json.loads(self.member_command("remove", 2, "-o", "json"))
        self.assertTrue(done["changed"])
        self.assertEqual(done["configuration_index"], self.listed()["configuration_index"])
        again = json.loads(self.member_command("remove", 2, "-o", "json"))
        self.assertFalse(again["changed"])

    def test_waiting_for_one_that_does_not_come_ends_in_time(self):
        text = self.member_command("add", f"3=127.0.0.1:{free_port()}", "--wait", "--within", "1s",
                                   expect=6)
        self.assertIn("gave up waiting: member 3 is a learner", text)
        self.assertIn("--join", text)
        self.assertIn("conclave member list", text)

    def test_what_would_stop_the_cluster_is_refused(self):
        self.assertIn("without a voter", self.member_command("remove", 1, expect=1))
        self.member_command("add", f"2=127.0.0.1:{free_port()}")
        self.assertIn("has not caught up", self.member_command("promote", 2, expect=1))
        self.assertIn("replace 2", self.member_command("add", f"2=127.0.0.1:{free_port()}",
                                                       expect=1))
        self.assertIn("no other voter", self.member_command("transfer-leader", expect=1))
        self.assertIn("has no vote", self.member_command("transfer-leader", 2, expect=1))
        self.assertIn("leads already", self.member_command("transfer-leader", 1))
        self.assertIn("data directory that counts", self.member_command("replace", 1))

    def test_mistakes_are_named(self):
        for arguments, part in ((("add", "2"), "ID=HOST:PEERPORT"),
                                (("add", "0=127.0.0.1:1"), "ID=HOST:PEERPORT"),
                                (("add", "2=127.0.0.1:99999"), "peerAddress"),
                                (("promote", "9"), "no member has this id"),
                                (("replace", "9"), "no member has the id 9"),
                                (("replace", "1", "--with", "x"), "ID=HOST:PEERPORT"),
                                (("transfer-leader", "9"), "no member has this id"),
                                (("remove",), "ID is required")):
            with self.subTest(arguments=arguments):
                self.assertIn(part, self.member_command(*arguments, expect=3))

    def test_nobody_there_is_status_2(self):
        done = run("--timeout", "1s", "member", "list", endpoint=f"127.0.0.1:{free_port()}")
        self.assertEqual(2, done.returncode, done.stderr)


if __name__ == "__main__":
    unittest.main()
