#!/usr/bin/env python3
"""Real members and a stock Thrift client: what the contract promises to any language."""

import contextlib
import pathlib
import unittest

from members import cluster, endpoints, local_cluster
from stock import (AddWatchRequest, CheckRequest, CoordError, CreateMode, CreateRequest, Cursor,
                   ErrorCode, EventType, MultiRequest, Op, PollRequest, ReadMode, RemoveRequest,
                   ResumeWatchesRequest, Session, SetDataRequest, TCompactProtocol, WatchMode,
                   WatchSpec, connect)
from waiting import wait_for


class StockClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        stack = contextlib.ExitStack()
        cls.addClassCleanup(stack.close)
        cls.directory = stack.enter_context(cluster())
        cls.members = endpoints(cls.directory).split(",")

    def session(self, address, **options):
        session = Session(address, **options)
        self.addCleanup(lambda: session.client.transport.close())
        return session

    def refused(self, code, call, *arguments):
        with self.assertRaises(CoordError) as caught:
            call(*arguments)
        self.assertEqual(ErrorCode._VALUES_TO_NAMES[code],
                         ErrorCode._VALUES_TO_NAMES[caught.exception.code],
                         caught.exception.message)
        self.assertTrue(caught.exception.message)
        return caught.exception

    def test_every_member_takes_every_call_in_both_protocols(self):
        for number, address in enumerate(self.members):
            session = self.session(address, protocol=TCompactProtocol)
            path = f"/any-{number}"
            made = session.create(path, b"one")
            self.assertEqual((path, 0, made.head.zxid),
                             (made.path, made.stat.version, made.stat.czxid))
            self.assertEqual(1, session.set(path, b"two", 0).stat.version)
            for mode in (ReadMode.LINEARIZABLE, ReadMode.SESSION):
                self.assertEqual(b"two", session.get(path, mode).data)
            self.assertTrue(session.exists(path))
            session.remove(path, 1)
            self.assertFalse(session.exists(path))
            session.close()

    def test_a_write_is_seen_at_once_through_every_other_member(self):
        sessions = [self.session(address) for address in self.members]
        sessions[0].create("/seen", b"0")
        for number in range(30):
            value = str(number).encode()
            sessions[number % 3].set("/seen", value)
            for session in sessions:
                self.assertEqual(value, session.get("/seen").data)

    def test_a_repeated_write_has_one_effect_and_the_same_answer_at_another_member(self):
        session = self.session(self.members[0])
        session.create("/once", b"")
        ctx, request = session.write(), SetDataRequest(path="/once", data=b"x", expectedVersion=-1)
        first = session.client.setData(ctx, request)
        session.move(self.members[1])
        again = session.client.setData(ctx, request)
        self.assertEqual((first.head.zxid, first.stat), (again.head.zxid, again.stat))
        self.assertEqual(1, session.get("/once").stat.version)
        # Numbers have no gaps: what was sent later cannot overtake what was lost.
        session.seq += 1
        error = self.refused(ErrorCode.SEQUENCE_GAP, session.set, "/once", b"y")
        self.assertEqual(session.seq - 1, error.expectedSeq)

    def test_errors_say_what_and_where(self):
        session = self.session(self.members[2])
        session.create("/errors", b"")
        self.refused(ErrorCode.NODE_EXISTS, session.create, "/errors")
        error = self.refused(ErrorCode.NO_NODE, session.set, "/errors/none", b"")
        self.assertEqual("/errors/none", error.path)
        self.refused(ErrorCode.NO_NODE, session.create, "/errors/none/child")
        self.refused(ErrorCode.BAD_VERSION, session.set, "/errors", b"", 7)
        session.create("/errors/child")
        self.refused(ErrorCode.NOT_EMPTY, session.remove, "/errors")
        session.create("/errors/short", mode=CreateMode.EPHEMERAL)
        self.refused(ErrorCode.NO_CHILDREN_FOR_EPHEMERALS, session.create, "/errors/short/child")
        error = self.refused(ErrorCode.TOO_LARGE, session.set, "/errors", bytes((1 << 20) + 1))
        self.assertIn("1048576", error.message)

    def test_every_kind_of_invalid_path_is_refused(self):
        session = self.session(self.members[0])
        session.create("/p")
        for path in ("", "relative", "//", "/p/", "/.", "/p/..", "/p/.", "/p/a\0b",
                     "/p/\x01", "/p/\x7f", "/p/\ue000", "/p/" + "n" * 256):
            with self.subTest(path=path[:20]):
                self.refused(ErrorCode.INVALID_ARGUMENT, session.create, path)
                with self.assertRaises(CoordError):
                    session.get(path)
        # As in ZooKeeper, a missing parent is told before a name that could not be.
        self.refused(ErrorCode.NO_NODE, session.create, "/none/\x01")
        deep = ""
        for _ in range(64):
            deep += "/d"
            session.create(deep)
        self.refused(ErrorCode.INVALID_ARGUMENT, session.create, deep + "/d")

    def test_a_multi_is_all_or_nothing_at_one_zxid(self):
        session = self.session(self.members[1])
        create = Op(create=CreateRequest(path="/multi", data=b"1", mode=CreateMode.PERSISTENT))
        change = Op(setData=SetDataRequest(path="/multi", data=b"2", expectedVersion=0))
        wrong = Op(check=CheckRequest(path="/multi", expectedVersion=9))
        failed = session.client.multi(session.write(), MultiRequest(ops=[create, change, wrong]))
        self.assertEqual((False, [ErrorCode.OK, ErrorCode.OK, ErrorCode.BAD_VERSION]),
                         (failed.committed, [result.code for result in failed.results]))
        self.assertFalse(session.exists("/multi"))
        done = session.client.multi(session.write(), MultiRequest(ops=[create, change]))
        self.assertTrue(done.committed)
        stat = session.get("/multi").stat
        self.assertEqual((done.head.zxid,) * 2, (stat.czxid, stat.mzxid))
        gone = session.client.multi(session.write(), MultiRequest(
            ops=[Op(remove=RemoveRequest(path="/multi", expectedVersion=1))]))
        self.assertTrue(gone.committed)

    def test_ephemerals_go_with_their_session_by_close_and_by_silence(self):
        watcher = self.session(self.members[0])
        for number, end in enumerate(("close", "silence")):
            path = f"/ephemeral-{end}"
            owner = self.session(self.members[1 + number], timeout_ms=1_000)
            made = owner.create(path, b"", CreateMode.EPHEMERAL)
            self.assertEqual(owner.id, made.stat.ephemeralOwner)
            self.assertTrue(watcher.exists(path))
            if end == "close":
                owner.close()
                self.assertFalse(watcher.exists(path))
            else:
                wait_for(lambda path=path: not watcher.exists(path), "the session to expire")
                # Told loudly, and never replaced: at any member, for any call.
                for address in self.members:
                    owner.move(address)
                    self.refused(ErrorCode.SESSION_EXPIRED, owner.get, "/")
                    self.refused(ErrorCode.SESSION_EXPIRED, owner.create, path)

    def test_a_session_needs_its_secret(self):
        session = self.session(self.members[0])
        session.secret = bytes(16)
        self.refused(ErrorCode.SESSION_EXPIRED, session.create, "/stolen")

    def test_events_come_in_order_with_values_and_go_on_at_another_member(self):
        writer, subscriber = self.session(self.members[0]), self.session(self.members[1])
        writer.create("/watched", b"")
        subscriber.get("/watched")  # its member has caught up: what follows is new there, too
        watch = WatchSpec(watchId=1, path="/watched", mode=WatchMode.PERSISTENT_RECURSIVE,
                          withValue=True)
        added = subscriber.client.addWatch(subscriber.ctx(), AddWatchRequest(watch=watch))
        cursor = Cursor(zxid=added.head.zxid, ordinal=2**31 - 1)
        expected, seen = [], []
        for number in range(20):
            path = f"/watched/{number:02}"
            writer.create(path, str(number).encode())
            expected.append((EventType.CREATED, path, str(number).encode()))
            if number == 9:
                # What happens while it is away is not lost, nor told twice.
                cursor = self.take(subscriber, cursor, seen, 10)
                subscriber.client.transport.close()
            if number == 14:
                subscriber.client = connect(self.members[2])
                resumed = subscriber.client.resumeWatches(subscriber.ctx(), ResumeWatchesRequest(
                    watches=[watch], cursor=cursor, replaceAll=True))
                self.assertFalse(resumed.head.resync)
                seen += resumed.head.events or []
                cursor = resumed.head.cursor or cursor
        self.take(subscriber, cursor, seen, 20)
        got = [(e.change.type, e.change.path, e.change.data) for e in seen]
        self.assertEqual(expected, got)

    def take(self, session, cursor, seen, count):
        def enough():
            nonlocal cursor
            head = session.poll(cursor)
            self.assertFalse(head.resync)
            seen.extend(head.events or [])
            cursor = head.cursor or cursor
            return len(seen) >= count
        wait_for(enough, lambda: f"{count} events, only {len(seen)} came")
        return cursor

    def test_an_event_comes_before_the_reply_that_shows_the_state(self):
        writer, subscriber = self.session(self.members[1]), self.session(self.members[0])
        writer.create("/before", b"0")
        subscriber.get("/before")
        subscriber.client.addWatch(subscriber.ctx(), AddWatchRequest(watch=WatchSpec(
            watchId=1, path="/before", mode=WatchMode.PERSISTENT, withValue=True)))
        for number in range(1, 21):
            value = str(number).encode()
            writer.set("/before", value)
            reply = subscriber.get("/before")
            self.assertEqual(value, reply.data)
            self.assertEqual([value], [event.change.data for event in reply.head.events])


class SlowReadersTest(unittest.TestCase):
    def test_a_thousand_clients_that_never_read_cost_little_memory(self):
        with cluster(1) as directory:
            address = endpoints(directory)
            writer = Session(address)
            writer.create("/busy", b"")
            readers = []
            for _ in range(1000):
                reader = Session(address, timeout_ms=600_000)
                added = reader.client.addWatch(reader.ctx(), AddWatchRequest(watch=WatchSpec(
                    watchId=1, path="/busy", mode=WatchMode.PERSISTENT, withValue=True)))
                # The poll is sent, and what comes back is never read.
                reader.client.send_poll(reader.ctx(), PollRequest(cursor=Cursor(
                    zxid=added.head.zxid, ordinal=2**31 - 1), waitMs=60_000))
                readers.append(reader)
            pid = int((directory / "1" / "pid").read_text(encoding="ascii"))
            before = resident_bytes(pid)
            for number in range(1000):
                writer.set("/busy", bytes([number % 256]) * 10_000)
            grown = resident_bytes(pid) - before
            self.assertLess(grown, 64 << 20, f"{grown >> 20} MiB for events that nobody reads")
            # The log in memory aside, the member is as quick and as well as before.
            self.assertEqual(1000, writer.get("/busy").stat.version)
            self.assertEqual(0, local_cluster(directory, "status").returncode)
            for session in [writer, *readers]:
                session.client.transport.close()


def resident_bytes(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in text.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    unittest.main()
