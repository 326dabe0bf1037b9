// Work that the core hands to the background, and takes the result of back.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

#include "coord/server/executor.h"

namespace conclave::server {

// Thread: the core executor's; the work itself runs on the background executor, one piece after the
// other in the order of Run, and so may share what nobody else touches.
//
// A result whose owner has gone is dropped. REQUIRES of the owner: no work runs when what it uses
// goes (idle(), or the executors have been stopped).
class Background {
 public:
  Background(Executor* core, Executor* background)
      : core_(core), background_(background), alive_(std::make_shared<char>('\0')) {}

  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;
  ~Background() = default;

  // Runs `work` there, then `then` with its result here. T may be move-only.
  template <typename T>
  void Run(std::function<T()> work, std::function<void(T)> then) {
    ++running_;
    using Back = std::function<void(T&)>;
    auto back = std::make_shared<Back>([this, then = std::move(then)](T& result) {
      --running_;
      then(std::move(result));
    });
    background_->Post([core = core_, alive = std::weak_ptr<char>(alive_), work = std::move(work),
                       back = std::move(back)]() mutable {
      if (alive.expired()) {
        return;
      }
      auto result = std::make_shared<T>(work());
      // What `then` holds belongs to the core: it is destroyed there.
      core->Post([alive, result = std::move(result), back = std::move(back)] {
        if (!alive.expired()) {
          (*back)(*result);
        }
      });
    });
  }

  [[nodiscard]] bool idle() const { return running_ == 0; }

 private:
  Executor* const core_;
  Executor* const background_;
  std::size_t running_ = 0;
  const std::shared_ptr<char> alive_;
};

}  // namespace conclave::server
