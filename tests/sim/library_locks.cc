// Locks of programs with the client library, and writes that only a holder may make.
#include <utility>

#include "tests/sim/library_actor.h"
#include "tests/sim/library_words.h"

namespace conclave::sim {

using std::chrono::milliseconds;

void LibraryActor::Contend() {
  if (grant_) {
    if (Percent(40)) {
      LetGo();
    }
    return;
  }
  if (contending_) {
    return;
  }
  contending_ = true;
  lock_ = std::make_unique<conclave::Lock>(
      *client_, lock_path_, conclave::LockOptions{fmt::format("process {}", number_)});
  const auto done = [this, generation = generation_](conclave::Result<conclave::Grant> grant) {
    if (generation == generation_) {
      contending_ = false;
      OnGrant(std::move(grant));
    }
  };
  if (!calm_ && Percent(20)) {
    lock_->TryAcquireAsync({}, done);
  } else {
    lock_->AcquireAsync(milliseconds(calm_ || Percent(50) ? 0 : random_.Uniform(1, 4'000)), done);
  }
}

void LibraryActor::OnGrant(conclave::Result<conclave::Grant> grant) {
  NoteSession();
  if (!grant.ok()) {
    world_->journal().Count("locks not granted");
    return;
  }
  if (!grant->valid()) {
    world_->journal().Count("grants that came too late");  // its end releases what is left of it
    return;
  }
  grant_ = std::make_shared<conclave::Grant>(std::move(*grant));
  ++granted_;
  world_->journal().Count("locks granted");
  world_->journal().Note("process {} holds {} with token {}", number_, lock_path_, grant_->token());
  std::int64_t& last = history_->last_token[lock_path_];
  if (grant_->token() <= last) {
    world_->journal().Fail("C7: {} was granted with token {} after {}", lock_path_, grant_->token(),
                           last);
  }
  last = grant_->token();
  history_->grants.push_back(
      {.path = lock_path_, .token = grant_->token(), .session = life_->session});
  std::weak_ptr<const conclave::Grant>& holder = history_->holders[lock_path_];
  if (const auto other = holder.lock(); other && other->valid()) {
    world_->journal().Fail("C7: {} was granted to process {} while token {} is held", lock_path_,
                           number_, other->token());
  }
  holder = grant_;
  grant_->OnLost([this, held = std::weak_ptr<conclave::Grant>(grant_)](const conclave::Error&) {
    const auto lost = held.lock();
    if (lost && lost->valid()) {
      world_->journal().Fail("C7: process {}: a lost grant calls itself valid", number_);
    }
    world_->journal().Count("locks lost");
    if (lost && lost == grant_) {
      grant_.reset();
    }
  });
}

// A write that only the holder may make: what it leaves is checked against the log.
void LibraryActor::UseGrant() {
  std::vector<conclave::Op> ops = grant_->Guard();
  ops.push_back(conclave::Op::Set("/s", fmt::format("{} {}", lock_path_, grant_->token())));
  LibraryWrite write;
  write.known_zxid = history_->known_zxid;
  write.is_multi = true;
  for (const conclave::Op& op : ops) {
    write.ops.push_back(ToModel(op));
  }
  const std::size_t index = life_->writes.size();
  life_->writes.push_back(std::move(write));
  life_->order.emplace_back(static_cast<std::int64_t>(index), 0);
  const std::int64_t timeout_ms = DrawTimeoutMs();
  client_->MultiAsync(
      std::move(ops), {milliseconds(timeout_ms)},
      [this, generation = generation_, issued = Issue(timeout_ms),
       index](const conclave::Result<conclave::MultiResult>& result) {
        if (Answered(generation, issued, "guarded write")) {
          world_->journal().Count(result.ok() ? "guarded writes" : "guarded writes not done");
          WriteEnded(index, result.ok() ? ReplyOf(*result) : ReplyOf(result.error()),
                     result.ok() ? -1 : result.error().op_index);
        }
      });
}

void LibraryActor::LetGo() {
  if (!grant_) {
    return;
  }
  const std::shared_ptr<conclave::Grant> grant = std::exchange(grant_, nullptr);
  if (Percent(30)) {
    return;  // its end releases it
  }
  const Issued issued = Issue(2'000);
  grant->ReleaseAsync({milliseconds(2'000)},
                      [this, generation = generation_, issued](const conclave::Status&) {
                        Answered(generation, issued, "release");
                      });
}

}  // namespace conclave::sim
