// The test service on a free port of loopback, for clients of other languages. Prints the port, and
// ends when its standard input does.
#include <cstdio>

#include <event2/event.h>
#include <glog/logging.h>
#include <unistd.h>

#include "tests/wire/testing.h"

int main(int /*argc*/, char** argv) {
  FLAGS_logtostderr = true;
  google::InitGoogleLogging(argv[0]);
  conclave::wire::testing::TestServer server;
  event* parent_gone = event_new(
      server.loop.base(), STDIN_FILENO, EV_READ | EV_PERSIST,
      [](int /*fd*/, short /*what*/, void* loop) {
        static_cast<conclave::wire::EventLoop*>(loop)->Stop();
      },
      &server.loop);
  CHECK(parent_gone != nullptr && event_add(parent_gone, nullptr) == 0);
  std::printf("%u\n", static_cast<unsigned>(server.address.port()));
  std::fflush(stdout);
  server.loop.Run();
  event_free(parent_gone);
  return 0;
}
