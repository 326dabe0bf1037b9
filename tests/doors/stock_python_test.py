"""A stock Thrift client, generated code and Debian's python3-thrift alone, against conclaved.

Usage: stock_python_test.py CONCLAVED GENERATED_PACKAGE_DIR
"""

import os
import re
import subprocess
import sys
import threading
import unittest

CONCLAVED, PACKAGE = sys.argv[1:3]
sys.path.insert(0, PACKAGE)
sys.dont_write_bytecode = True

from conclave_idl.v1.admin import Operator  # noqa: E402
from conclave_idl.v1.client import Coord  # noqa: E402
from conclave_idl.v1.client import ttypes as client  # noqa: E402
from conclave_idl.v1.types import ttypes as types  # noqa: E402
from thrift.Thrift import TApplicationException, TMessageType  # noqa: E402
from thrift.protocol.TBinaryProtocol import TBinaryProtocol  # noqa: E402
from thrift.protocol.TCompactProtocol import TCompactProtocol  # noqa: E402
from thrift.transport.TSocket import TSocket  # noqa: E402
from thrift.transport.TTransport import TFramedTransport  # noqa: E402

ErrorCode = types.ErrorCode


class Session:
    """What a client of any language has to keep: id, secret, the number of its last write."""

    def __init__(self, calls, timeout_ms=10_000):
        self.calls = calls
        opened = calls.openSession(client.OpenRequest(timeoutMs=timeout_ms, nonce=os.urandom(16)))
        self.id, self.secret, self.timeout_ms = opened.session, opened.secret, opened.timeoutMs
        self.seq = 0

    def reads(self, **more):
        return types.Ctx(session=self.id, secret=self.secret, **more)

    def writes(self):
        self.seq += 1
        return types.Ctx(session=self.id, secret=self.secret, seq=self.seq)


class StockPythonTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = subprocess.Popen(
            [CONCLAVED, "--dev", "--client_address=127.0.0.1:0", "--admin_address="],
            stderr=subprocess.PIPE, text=True)
        for line in cls.server.stderr:
            found = re.search(r"started .*clients=127\.0\.0\.1:(\d+)", line)
            if found:
                cls.port = int(found.group(1))
                break
        cls.drain = threading.Thread(target=cls.server.stderr.read, daemon=True)
        cls.drain.start()

    @classmethod
    def tearDownClass(cls):
        cls.server.terminate()
        assert cls.server.wait(timeout=20) == 0, "an orderly end has status 0"
        cls.drain.join()
        cls.server.stderr.close()

    def connect(self, protocol=TBinaryProtocol):
        transport = TSocket("127.0.0.1", self.port)
        transport.setTimeout(30_000)
        framed = TFramedTransport(transport)
        framed.open()
        self.addCleanup(framed.close)
        return Coord.Client(protocol(framed))

    def refused(self, code, call, *arguments):
        with self.assertRaises(types.CoordError) as caught:
            call(*arguments)
        self.assertEqual(caught.exception.code, code, caught.exception.message)
        return caught.exception

    def test_every_method_of_the_contract_is_served_and_no_other(self):
        methods = list(Operator.Processor(None)._processMap)
        self.assertIn("setData", methods)
        self.assertIn("transferLeader", methods)
        for method in [*methods, "noSuchMethod"]:
            protocol = self.connect()._oprot
            arguments = getattr(Operator, method + "_args", None) or getattr(
                Coord, method + "_args", Coord.ping_args)
            protocol.writeMessageBegin(method, TMessageType.CALL, 7)
            arguments().write(protocol)
            protocol.writeMessageEnd()
            protocol.trans.flush()
            name, kind, seqid = protocol.readMessageBegin()
            self.assertEqual((name, seqid), (method, 7))
            if method in methods:
                self.assertEqual(kind, TMessageType.REPLY, method)
                continue
            self.assertEqual(kind, TMessageType.EXCEPTION)
            unknown = TApplicationException()
            unknown.read(protocol)
            self.assertEqual(unknown.type, TApplicationException.UNKNOWN_METHOD)

    def test_a_life_of_a_znode_in_both_protocols(self):
        for protocol in (TBinaryProtocol, TCompactProtocol):
            calls = self.connect(protocol)
            session = Session(calls)
            path = f"/{protocol.__name__}"
            made = calls.create(session.writes(), client.CreateRequest(path=path, data=b"\x00\xff"))
            self.assertEqual(made.path, path)
            self.assertEqual(made.stat.czxid, made.head.zxid)
            got = calls.getData(session.reads(), client.GetRequest(path=path))
            self.assertEqual((got.data, got.stat.version), (b"\x00\xff", 0))
            calls.setData(session.writes(), client.SetDataRequest(path=path))
            got = calls.getData(session.reads(), client.GetRequest(path=path))
            self.assertEqual((got.data, got.stat.version), (None, 1))
            self.refused(ErrorCode.BAD_VERSION, calls.removeNode, session.writes(),
                         client.RemoveRequest(path=path, expectedVersion=7))
            calls.removeNode(session.writes(), client.RemoveRequest(path=path, expectedVersion=1))
            self.assertIsNone(calls.exists(session.reads(),
                                           client.ExistsRequest(path=path)).stat)
            calls.closeSession(session.writes())

    def test_a_repeated_write_is_answered_and_not_repeated(self):
        calls = self.connect()
        session = Session(calls)
        calls.create(session.writes(), client.CreateRequest(path="/once"))
        context = session.writes()
        request = client.CreateRequest(path="/once/n-",
                                       mode=client.CreateMode.PERSISTENT_SEQUENTIAL)
        first = calls.create(context, request)
        again = calls.create(context, request)
        self.assertEqual((first.path, first.head.zxid), (again.path, again.head.zxid))
        listed = calls.children(session.reads(), client.ChildrenRequest(path="/once"))
        self.assertEqual(listed.names, ["n-0000000000"])

    def test_a_gap_says_which_number_is_expected(self):
        calls = self.connect()
        session = Session(calls)
        session.seq = 4
        error = self.refused(ErrorCode.SEQUENCE_GAP, calls.create, session.writes(),
                             client.CreateRequest(path="/gap"))
        self.assertEqual(error.expectedSeq, 1)

    def test_multi_is_all_or_nothing(self):
        calls = self.connect()
        session = Session(calls)
        create = client.Op(create=client.CreateRequest(path="/multi", data=b""))
        good = client.Op(setData=client.SetDataRequest(path="/multi", data=b"x", expectedVersion=0))
        bad = client.Op(check=client.CheckRequest(path="/missing"))
        result = calls.multi(session.writes(), client.MultiRequest([create, bad, good]))
        self.assertFalse(result.committed)
        self.assertEqual([one.code for one in result.results],
                         [ErrorCode.OK, ErrorCode.NO_NODE, ErrorCode.RUNTIME_INCONSISTENCY])
        result = calls.multi(session.writes(), client.MultiRequest([create, good]))
        self.assertTrue(result.committed)
        self.assertEqual(result.results[1].stat.version, 1)

    def test_a_parked_poll_is_woken_by_another_connection(self):
        watcher = self.connect()
        session = Session(watcher)
        added = watcher.addWatch(session.reads(), client.AddWatchRequest(watch=client.WatchSpec(
            watchId=5, path="/seen", mode=types.WatchMode.PERSISTENT_RECURSIVE, withValue=True)))

        def write():
            calls = self.connect()
            writer = Session(calls)
            for path in ("/seen", "/seen/child"):
                calls.create(writer.writes(), client.CreateRequest(path=path, data=path.encode()))

        thread = threading.Thread(target=write)
        thread.start()
        events, cursor = [], types.Cursor(added.head.zxid, 2**31 - 1)
        while len(events) < 2:
            polled = watcher.poll(session.reads(), client.PollRequest(cursor=cursor, waitMs=20_000))
            self.assertFalse(polled.head.resync)
            events += polled.head.events or []
            cursor = polled.head.cursor
        thread.join()
        self.assertEqual([(event.change.type, event.change.path, event.change.data, event.watchIds)
                          for event in events],
                         [(types.EventType.CREATED, "/seen", b"/seen", [5]),
                          (types.EventType.CREATED, "/seen/child", b"/seen/child", [5])])

    def test_ephemerals_go_with_their_session(self):
        calls = self.connect()
        owner, other = Session(calls), Session(calls)
        calls.create(owner.writes(), client.CreateRequest(path="/mine",
                                                          mode=client.CreateMode.EPHEMERAL))
        found = calls.exists(other.reads(), client.ExistsRequest(path="/mine"))
        self.assertEqual(found.stat.ephemeralOwner, owner.id)
        calls.closeSession(owner.writes())
        self.assertIsNone(calls.exists(other.reads(), client.ExistsRequest(path="/mine")).stat)
        self.refused(ErrorCode.SESSION_EXPIRED, calls.ping, owner.reads())

    def test_a_silent_session_expires_loudly(self):
        calls = self.connect()
        silent, other = Session(calls, timeout_ms=1_000), Session(calls)
        calls.create(silent.writes(), client.CreateRequest(path="/brief",
                                                           mode=client.CreateMode.EPHEMERAL))
        calls.exists(other.reads(), client.ExistsRequest(
            path="/brief", watch=client.ReadWatch(watchId=1)))
        polled = calls.poll(other.reads(), client.PollRequest(cursor=types.Cursor(0, 0),
                                                              waitMs=20_000))
        self.assertEqual(polled.head.events[0].change.type, types.EventType.DELETED)
        self.refused(ErrorCode.SESSION_EXPIRED, calls.setData, silent.writes(),
                     client.SetDataRequest(path="/"))

    def test_a_wrong_secret_is_refused(self):
        calls = self.connect()
        session = Session(calls)
        session.secret = bytes(16)
        self.refused(ErrorCode.SESSION_EXPIRED, calls.ping, session.reads())

    def test_bad_arguments_name_the_field(self):
        calls = self.connect()
        session = Session(calls)
        cases = [
            ("secret", calls.ping, (types.Ctx(session=session.id, secret=b"x"),)),
            ("nonce", calls.openSession, (client.OpenRequest(nonce=b""),)),
            ("ops[0]", calls.multi, (session.reads(seq=1), client.MultiRequest([client.Op()]))),
            ("mode", calls.getData, (session.reads(), client.GetRequest(path="/", mode=9))),
            ("countMax", calls.children,
             (session.reads(), client.ChildrenRequest(path="/", countMax=-1))),
        ]
        for field, call, arguments in cases:
            error = self.refused(ErrorCode.INVALID_ARGUMENT, call, *arguments)
            self.assertIn(field, error.message)

    def test_a_value_over_the_limit_is_refused_and_the_connection_goes_on(self):
        calls = self.connect()
        session = Session(calls)
        error = self.refused(ErrorCode.TOO_LARGE, calls.create, session.writes(),
                             client.CreateRequest(path="/large", data=bytes((1 << 20) + 1)))
        self.assertIn("1048576", error.message)
        calls.create(session.writes(), client.CreateRequest(path="/large", data=bytes(1 << 20)))

    def test_status_needs_no_session(self):
        status = self.connect().clusterStatus(client.ClusterStatusRequest())
        self.assertEqual(status.leader, 1)
        self.assertEqual([(m.id, m.role, m.reachable) for m in status.members],
                         [(1, types.MemberRole.LEADER, True)])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
