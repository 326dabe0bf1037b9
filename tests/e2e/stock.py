"""A session over a stock Thrift client: generated code and python3-thrift, nothing of ours."""

import os
import pathlib
import sys

# Set by CMakeLists.txt; by hand, that of build/release.
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, os.environ.get("CONCLAVE_IDL_PYTHON",
                                  str(ROOT / "build/release/thrift/idl/python")))
sys.dont_write_bytecode = True

from conclave_idl.v1.client import Coord  # noqa: E402
from conclave_idl.v1.client.ttypes import (  # noqa: E402,F401
    AddWatchRequest, CheckRequest, ChildrenRequest, CreateMode, CreateRequest, ExistsRequest,
    GetRequest, MultiRequest, Op, OpenRequest, PollRequest, ReadMode, RemoveRequest,
    ResumeWatchesRequest, SetDataRequest, WatchSpec)
from conclave_idl.v1.types.ttypes import (  # noqa: E402,F401
    CoordError, Ctx, Cursor, ErrorCode, EventType, WatchMode)
from thrift.protocol.TBinaryProtocol import TBinaryProtocol  # noqa: E402
from thrift.protocol.TCompactProtocol import TCompactProtocol  # noqa: E402,F401
from thrift.transport.TSocket import TSocket  # noqa: E402
from thrift.transport.TTransport import TFramedTransport  # noqa: E402

# The generated exception refuses attributes, also the traceback that unittest wants to set.
del CoordError.__setattr__
del CoordError.__delattr__


def connect(address, protocol=TBinaryProtocol, timeout_ms=30_000):
    host, port = address.rsplit(":", 1)
    socket = TSocket(host, int(port))
    socket.setTimeout(timeout_ms)
    transport = TFramedTransport(socket)
    transport.open()
    client = Coord.Client(protocol(transport))
    client.transport = transport
    return client


class Session:
    """The duties of a client, as thrift/idl says them: numbers its writes, keeps id and secret."""

    def __init__(self, address, timeout_ms=10_000, protocol=TBinaryProtocol):
        self.client = connect(address, protocol)
        opened = self.client.openSession(OpenRequest(timeoutMs=timeout_ms, nonce=os.urandom(16)))
        self.id, self.secret, self.seq = opened.session, opened.secret, 0

    def move(self, address):
        """To another member, with the same session."""
        self.client.transport.close()
        self.client = connect(address)

    def ctx(self, **more):
        return Ctx(session=self.id, secret=self.secret, **more)

    def write(self):
        self.seq += 1
        return self.ctx(seq=self.seq, ackedThrough=self.seq - 1)

    def create(self, path, data=b"", mode=CreateMode.PERSISTENT):
        return self.client.create(self.write(), CreateRequest(path=path, data=data, mode=mode))

    def set(self, path, data, version=-1):
        return self.client.setData(
            self.write(), SetDataRequest(path=path, data=data, expectedVersion=version))

    def remove(self, path, version=-1):
        return self.client.removeNode(self.write(),
                                      RemoveRequest(path=path, expectedVersion=version))

    def get(self, path, mode=ReadMode.LINEARIZABLE):
        return self.client.getData(self.ctx(afterSeq=self.seq), GetRequest(path=path, mode=mode))

    def exists(self, path):
        return self.client.exists(self.ctx(), ExistsRequest(path=path)).stat is not None

    def poll(self, cursor, wait_ms=5_000):
        return self.client.poll(self.ctx(), PollRequest(cursor=cursor, waitMs=wait_ms)).head

    def close(self):
        self.client.closeSession(self.write())
        self.client.transport.close()
