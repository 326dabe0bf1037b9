// What a client can be told. Every field has a default that is right for most.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include <conclave/error.h>
#include <conclave/executor.h>
#include <conclave/transport.h>
#include <conclave/types.h>

namespace conclave {

// A session that can be taken up again by another process: keep it as secret as a password. Writes
// that the process before has sent and that are not executed by then are not executed any more; if
// it still lives, its next write tells it that the session is over for it.
struct SavedSession {
  std::int64_t id = 0;
  std::string secret;      // 16 bytes.
  std::string cluster_id;  // 16 bytes: a session of another cluster is refused.

  // One line of printable text, and back. Parse fails with kInvalidArgument.
  std::string Serialize() const;
  static Result<SavedSession> Parse(const std::string& text);
};

// kConnecting → kConnected ⇄ kSuspended/kReconnected, kLost; kExpired or kClosed is the end.
enum class SessionState {
  kConnecting,   // No session yet.
  kConnected,    // The session is open. Comes once.
  kSuspended,    // The connection is gone; the session may live on. Act as if others may act now.
  kReconnected,  // The session goes on: nothing of it was lost, watches continue where they were.
  // The session was last confirmed too long ago: the cluster may have ended it, and locks held by
  // it are given up. The client goes on trying; kReconnected follows if the session still exists.
  kLost,
  kExpired,  // The cluster has ended the session. Every call fails from now on. Comes after kLost.
  kClosed,   // Close() was called.
};

std::string_view SessionStateName(SessionState state);

struct SessionChange {
  SessionState state = SessionState::kConnecting;
  std::string reason;  // For people and logs.
};

struct Options {
  // Client addresses of members, "host:port", separated by commas. All of the cluster should be
  // named; some suffice. Names are resolved anew before every attempt to connect.
  std::string endpoints;

  // After this long without a sign of life the cluster ends the session. Longer survives longer
  // outages; shorter frees locks sooner after a crash. The cluster may clamp it.
  std::chrono::milliseconds session_timeout{10'000};

  // Deadline of calls that do not bring one.
  std::chrono::milliseconds call_timeout{10'000};

  // An attempt to connect to one member, with the handshake, is given up after this.
  std::chrono::milliseconds connect_timeout{2'000};

  // The pause after a failed round over all endpoints is drawn from [0, b], with b doubling from
  // the first to the second of these.
  std::chrono::milliseconds backoff_min{20};
  std::chrono::milliseconds backoff_max{2'000};

  // Shown to operators next to the session, up to 128 bytes.
  std::string client_name;

  // Without a session: reads and GetClusterStatus only, nothing is written to the cluster's log,
  // and the state is kConnected while a member is reached. For programs that look once and leave.
  bool open_session = true;

  // Take up this session instead of opening one.
  std::optional<SavedSession> resume;

  // Calls that wait for an answer, and the bytes of their requests: one more is answered with
  // kOverloaded at once, and was not sent.
  std::size_t outstanding_calls_max = 4'096;
  std::size_t outstanding_bytes_max = std::size_t{64} << 20;

  // Of those, how many writes may be under way at once; more wait their turn inside. The cluster
  // keeps the replies of 1,024.
  std::size_t writes_in_flight_max = 512;

  // Events that wait for a slow callback. When they are more, the client stops to fetch events
  // until the callbacks have caught up; the members keep them, and nothing is lost in between.
  std::size_t events_queued_max = 10'000;

  // A frame of a member that claims to be larger ends the connection.
  std::size_t frame_bytes_max = std::size_t{4} << 20;

  // Told of every change of the session's state, in order, where callbacks run.
  std::function<void(const SessionChange&)> on_session;

  // A word on what happens (connects, retries, resumes), for the application's log. Called on the
  // library's thread: must not block. Default: nothing is logged.
  std::function<void(const std::string& line)> log;

  // kInvalidArgument, naming the field.
  Status Validate() const;
};

struct CallOptions {
  // The answer or an error comes by then. 0: Options::call_timeout.
  std::chrono::milliseconds timeout{0};
};

struct ReadOptions {
  std::chrono::milliseconds timeout{0};
  ReadMode mode = ReadMode::kLinearizable;
};

// What the library takes from outside. All must outlive the client.
struct Seams {
  Executor* loop = nullptr;         // Runs the library.
  TaskRunner* callbacks = nullptr;  // Runs the application's callbacks; may be the same.
  Transport* transport = nullptr;
  std::function<std::uint64_t()>
      random;  // Uniform 64 bits; secrets of sessions are made by members.
};

}  // namespace conclave
