// What a client runs on in production: an event loop on a thread of its own, a thread for the
// application's callbacks, and framed TCP.
#pragma once

#include <memory>

#include <conclave/options.h>

namespace conclave::internal {

class Runtime {
 public:
  explicit Runtime(const Options& options);
  // Runs all callbacks that have been posted, then joins the threads. Called from a callback, it
  // leaves the joining to a thread that waits for that callback, and the remaining callbacks run
  // after it.
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  Seams seams();
  // Runs the task on the loop and waits for it. Must not be called on the loop.
  void Await(const Task& task);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace conclave::internal
