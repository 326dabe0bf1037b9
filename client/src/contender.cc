#include "client/src/contender.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "client/src/calls.h"

namespace conclave::internal {
namespace {

constexpr std::string_view kPrefix = "c-";
constexpr std::size_t kSessionDigits = 16;

std::string NamePrefix(std::int64_t session) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex(kSessionDigits, '0');
  auto rest = static_cast<std::uint64_t>(session);
  for (std::size_t i = hex.size(); i > 0 && rest != 0; --i, rest >>= 4) {
    hex[i - 1] = kDigits[rest & 15];
  }
  return std::string(kPrefix) + hex + "-";
}

Error MakeError(Code code, std::string message, const std::string& path) {
  return Error{
      .code = code, .message = std::move(message), .path = path, .zxid = 0, .op_index = -1};
}

// Removes a contender however long it takes: one that stayed would block the lock for as long as
// the session lives. The engine repeats what is refused, except for want of room, which may last;
// so that is repeated here, at a pace at which it costs nothing. Kept alive by what it waits for.
class Removal : public std::enable_shared_from_this<Removal> {
 public:
  Removal(std::shared_ptr<Core> core, std::string path, std::function<void(Status)> done)
      : core_(std::move(core)), path_(std::move(path)), done_(std::move(done)) {}

  void Try() {
    internal::RemoveNode(*core_, Op::Remove(path_), kUnbounded,
                         [self = shared_from_this()](const Result<Written>& removed) {
                           self->OnAnswer(removed.ok() ? Status() : Status(removed.error()));
                         });
  }

 private:
  void OnAnswer(const Status& status) {
    if (!status.ok() && status.error().action() == Action::kRetryLater && !core_->over()) {
      const auto self = shared_from_this();
      listener_ = core_->AddListener([self](SessionState state) {
        if (state == SessionState::kExpired || state == SessionState::kClosed) {
          self->Again();  // It is answered at once then.
        }
      });
      timer_ = core_->loop().PostAfter(core_->session_timeout() / 20, [self] { self->Again(); });
      return;
    }
    const bool gone = status.ok() || status.code() == Code::kNoNode ||
                      status.code() == Code::kReplyDropped ||
                      status.code() == Code::kSessionExpired;
    done_(gone ? Status() : status);
  }

  void Again() {
    const auto self = shared_from_this();
    core_->loop().Cancel(timer_);
    core_->RemoveListener(listener_);
    Try();
  }

  const std::shared_ptr<Core> core_;
  const std::string path_;
  const std::function<void(Status)> done_;
  Core::ListenerId listener_ = 0;
  TimerId timer_ = 0;
};

}  // namespace

std::optional<Claim> Claim::Decode(const Data& data) {
  if (!data) {
    return std::nullopt;
  }
  const std::size_t line_feed = data->find('\n');
  if (line_feed == std::string::npos || !ContenderNumber(data->substr(0, line_feed))) {
    return std::nullopt;
  }
  return Claim{data->substr(0, line_feed), data->substr(line_feed + 1)};
}

std::optional<std::int32_t> ContenderNumber(std::string_view name) {
  const std::size_t digits_at = kPrefix.size() + kSessionDigits + 1;
  if (name.size() < digits_at + 10 || name.substr(0, kPrefix.size()) != kPrefix ||
      name[digits_at - 1] != '-') {
    return std::nullopt;
  }
  const std::string_view digits = name.substr(digits_at);
  std::int32_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    return std::nullopt;
  }
  return number;
}

bool ComesBefore(std::int32_t a, std::int32_t b) {
  const auto way = static_cast<std::uint32_t>(b) - static_cast<std::uint32_t>(a);
  return way != 0 && way < (std::uint32_t{1} << 31);
}

Contender::Contender(std::shared_ptr<Core> core, ContenderOptions options,
                     std::function<void(Status)> granted)
    : core_(std::move(core)), options_(std::move(options)), granted_(std::move(granted)) {}

Task Contender::Weakly(void (Contender::*step)()) {
  return [weak = weak_from_this(), step] {
    if (const auto self = weak.lock()) {
      (*self.*step)();
    }
  };
}

void Contender::Start() {
  core_->RunOnLoop([self = shared_from_this()] {
    if (self->core_->over()) {
      self->Fail(MakeError(Code::kSessionExpired, "the session is over", self->options_.path));
      return;
    }
    self->listener_ = self->core_->AddListener([weak = self->weak_from_this()](SessionState state) {
      if (const auto contender = weak.lock()) {
        contender->OnSession(state);
      }
    });
    if (self->options_.deadline != BootTime::max()) {
      self->deadline_timer_ = self->core_->loop().PostAfter(
          std::max(self->options_.deadline - self->core_->loop().Now(),
                   std::chrono::nanoseconds(0)),
          self->Weakly(&Contender::OnDeadline));
    }
    self->Create();
  });
}

void Contender::Create() {
  phase_ = Phase::kCreating;
  // The session is part of the name so that people see who it is, and a name is never another's.
  // Without one yet the call waits for it, but its name cannot; so the wait comes first.
  if (core_->session_id() == 0) {
    WaitUntilOpen(*core_, kUnbounded, [self = shared_from_this()](const Status& open) {
      if (self->phase_ != Phase::kCreating) {
        return;
      }
      if (!open.ok()) {
        self->Fail(open.error());
      } else if (self->withdrawn_) {
        self->Leave();
        self->phase_ = Phase::kOver;
      } else {
        self->Create();
      }
    });
    return;
  }
  const std::string prefix = options_.path + "/" + NamePrefix(core_->session_id());
  // No deadline: it has to be known whether there is a contender, or it would block the lock for as
  // long as the session lives.
  CreateNode(*core_, Op::Create(prefix, options_.value, CreateMode::kEphemeralSequential),
             kUnbounded, [self = shared_from_this()](Result<Created> created) {
               self->OnCreated(std::move(created));
             });
}

void Contender::OnCreated(Result<Created> created) {
  if (phase_ != Phase::kCreating) {
    return;
  }
  if (!created.ok()) {
    if (created.code() == Code::kReplyDropped && created.error().zxid > 0) {
      FindOwn(created.error());
      return;
    }
    if (created.code() != Code::kNoNode || withdrawn_) {
      Fail(created.error());
      return;
    }
    CreatePath(*core_, options_.path, kUnbounded, [self = shared_from_this()](const Status& made) {
      if (self->phase_ != Phase::kCreating) {
        return;
      }
      if (made.ok() && !self->withdrawn_) {
        self->Create();
      } else {
        self->Fail(made.ok() ? MakeError(Code::kDeadlineExceeded, "withdrawn", self->options_.path)
                             : made.error());
      }
    });
    return;
  }
  contender_path_ = created->path;
  name_ = contender_path_.substr(contender_path_.rfind('/') + 1);
  if (withdrawn_) {
    Fail(MakeError(Code::kDeadlineExceeded, "withdrawn", options_.path));
    return;
  }
  phase_ = Phase::kQueued;
  WatchSelf(created->stat.czxid);
  List();
}

// There is a contender, made by the entry `dropped.zxid`, whose name the cluster has forgotten.
// Left alone it would block the lock for as long as the session lives.
void Contender::FindOwn(const Error& dropped) {
  ListChildren(*core_, options_.path, {}, kUnbounded,
               [self = shared_from_this(), dropped](const Result<ChildList>& children) {
                 if (self->phase_ != Phase::kCreating) {
                   return;
                 }
                 std::vector<std::string> own;
                 const std::string prefix = NamePrefix(self->core_->session_id());
                 for (const std::string& name : children.ok() ? children->names : own) {
                   if (name.starts_with(prefix)) {
                     own.push_back(self->options_.path + "/" + name);
                   }
                 }
                 self->FindAmong(std::move(own), children.ok() ? dropped : children.error());
               });
}

void Contender::FindAmong(std::vector<std::string> paths, const Error& dropped) {
  if (paths.empty()) {
    Fail(dropped);  // Somebody has removed it.
    return;
  }
  std::string path = std::move(paths.back());
  paths.pop_back();
  NodeExists(*core_, path, ReadMode::kLinearizable, kUnbounded,
             [self = shared_from_this(), path, paths = std::move(paths),
              dropped](const Result<Existence>& existence) mutable {
               if (self->phase_ != Phase::kCreating) {
                 return;
               }
               if (!existence.ok()) {
                 self->Fail(existence.error());
               } else if (existence->stat && existence->stat->czxid == dropped.zxid) {
                 self->OnCreated(Created{path, *existence->stat, dropped.zxid});
               } else {
                 self->FindAmong(std::move(paths), dropped);
               }
             });
}

WatchId Contender::WatchOnce(const std::string& path, std::optional<Cursor> from,
                             void (Contender::*on_event)()) {
  auto slot = std::make_shared<WatchSlot>();
  slot->on_loop = true;
  slot->on_event = [weak = weak_from_this(), on_event](const Event&) {
    if (const auto self = weak.lock()) {
      (*self.*on_event)();
    }
  };
  WatchTable::Watch watch;
  watch.path = path;
  watch.mode = WatchMode::kExistsOnce;
  watch.from = from;
  watch.slot = std::move(slot);
  // A failure to register means that the session is over, which its listener tells; or that it has
  // been told of later changes than `from` already: then the state itself tells.
  return core_->AddWatch(std::move(watch), BootTime::max(),
                         [weak = weak_from_this(), from, on_event](const Result<std::int64_t>& at) {
                           const auto self = weak.lock();
                           if (self != nullptr && from && at.code() == Code::kInvalidArgument) {
                             (*self.*on_event)();
                           }
                         });
}

void Contender::WatchSelf(std::int64_t czxid) {
  std::optional<Cursor> from;
  if (czxid > 0) {
    from = Cursor{.zxid = czxid, .ordinal = 0};
  }
  self_watch_ = WatchOnce(contender_path_, from, &Contender::CheckSelf);
}

// Something has happened to the own contender: it was removed, unless its data was changed or the
// event says only that something may have been missed.
void Contender::CheckSelf() {
  if (phase_ == Phase::kOver) {
    return;
  }
  WatchSelf(0);
  NodeExists(*core_, contender_path_, ReadMode::kLinearizable, kUnbounded,
             [self = shared_from_this()](const Result<Existence>& existence) {
               if (self->phase_ == Phase::kOver || !existence.ok() || existence->stat) {
                 return;
               }
               const Error gone = MakeError(Code::kNoNode, "the contender was removed by somebody",
                                            self->contender_path_);
               if (self->phase_ == Phase::kHeld) {
                 self->Lose(gone);
               } else {
                 self->Fail(gone);
               }
             });
}

void Contender::List() {
  if (phase_ != Phase::kQueued) {
    return;
  }
  if (listing_) {
    list_again_ = true;
    return;
  }
  listing_ = true;
  ListChildren(*core_, options_.path, {}, kUnbounded,
               [self = shared_from_this()](Result<ChildList> children) {
                 self->listing_ = false;
                 if (std::exchange(self->list_again_, false) && children.ok()) {
                   self->List();
                 } else {
                   self->OnListed(std::move(children));
                 }
               });
}

void Contender::OnListed(Result<ChildList> children) {
  if (phase_ != Phase::kQueued) {
    return;
  }
  if (!children.ok()) {
    Fail(children.error());
    return;
  }
  const std::int32_t mine = *ContenderNumber(name_);
  bool present = false;
  std::optional<std::int32_t> before;
  std::string predecessor;
  for (const std::string& name : children->names) {
    const auto number = ContenderNumber(name);
    if (!number) {
      Fail(MakeError(Code::kInvalidArgument,
                     "not a lock of this layout: there is a child '" + name + "'", options_.path));
      return;
    }
    present = present || name == name_;
    if (ComesBefore(*number, mine) && (!before || ComesBefore(*before, *number))) {
      before = number;
      predecessor = name;
    }
  }
  if (!present) {
    Fail(MakeError(Code::kNoNode, "the contender was removed by somebody", contender_path_));
  } else if (predecessor.empty()) {
    ClaimLock();
  } else if (!options_.wait) {
    Fail(MakeError(Code::kNodeExists, "the lock is held or waited for by '" + predecessor + "'",
                   options_.path));
  } else {
    AwaitPredecessor(options_.path + "/" + predecessor);
  }
}

void Contender::AwaitPredecessor(const std::string& predecessor) {
  if (predecessor_watch_ != 0) {
    core_->Unwatch(predecessor_watch_);
  }
  predecessor_watch_ = WatchOnce(predecessor, std::nullopt, &Contender::List);
  // The watch tells of what happens after it was registered; this read, of what was before.
  NodeExists(*core_, predecessor, ReadMode::kLinearizable, kUnbounded,
             [self = shared_from_this()](const Result<Existence>& existence) {
               if (existence.ok() && !existence->stat) {
                 self->List();
               }
             });
}

void Contender::ClaimLock() {
  phase_ = Phase::kClaiming;
  if (predecessor_watch_ != 0) {
    core_->Unwatch(std::exchange(predecessor_watch_, 0));
  }
  RunMulti(*core_,
           {Op::Check(CONCLAVE_MUTANT(40) ? options_.path : contender_path_),
            Op::Set(options_.path, Claim{name_, options_.value}.Encode())},
           kUnbounded, [self = shared_from_this()](Result<MultiResult> result) {
             self->OnClaimed(std::move(result));
           });
}

void Contender::OnClaimed(Result<MultiResult> result) {
  if (phase_ != Phase::kClaiming) {
    return;
  }
  if (!result.ok() || result->results.size() != 2) {
    Fail(result.ok() ? MakeError(Code::kInternal, "a malformed answer", options_.path)
                     : result.error());
    return;
  }
  token_ = result->zxid;
  claim_version_ = result->results[1].stat.version;
  phase_ = Phase::kClaimed;
  GrantWhenValid();
}

// A grant that has run out already is none: the session must be confirmed first.
void Contender::GrantWhenValid() {
  valid_timer_ = 0;
  if (phase_ != Phase::kClaimed) {
    return;
  }
  const BootTime now = core_->loop().Now();
  if (core_->valid_until() <= now) {
    valid_timer_ =
        core_->loop().PostAfter(core_->session_timeout() / 20, Weakly(&Contender::GrantWhenValid));
    return;
  }
  phase_ = Phase::kHeld;
  if (deadline_timer_ != 0) {
    core_->loop().Cancel(std::exchange(deadline_timer_, 0));
  }
  {
    const std::lock_guard lock(mu_);
    held_ = true;
  }
  std::exchange(granted_, nullptr)({});
}

void Contender::OnSession(SessionState state) {
  const std::string& path = contender_path_.empty() ? options_.path : contender_path_;
  switch (state) {
    case SessionState::kLost:
      if (phase_ == Phase::kHeld) {
        Lose(MakeError(Code::kSessionExpired, "the session could not be confirmed in time", path));
      }
      return;
    case SessionState::kExpired:
    case SessionState::kClosed: {
      const Error over = MakeError(
          Code::kSessionExpired,
          state == SessionState::kClosed ? "the client was closed" : "the session has expired",
          path);
      if (phase_ == Phase::kHeld) {
        Lose(over);
      } else if (phase_ != Phase::kOver) {
        Fail(over);
      }
      return;
    }
    default:
      return;
  }
}

void Contender::OnDeadline() {
  deadline_timer_ = 0;
  Withdraw("the lock was not acquired in time");
}

void Contender::Withdraw(std::string why) {
  core_->RunOnLoop([self = shared_from_this(), why = std::move(why)] {
    if (self->phase_ == Phase::kHeld || self->phase_ == Phase::kOver) {
      return;
    }
    const Error error = MakeError(Code::kDeadlineExceeded, why, self->options_.path);
    if (self->phase_ != Phase::kCreating) {
      self->Fail(error);
      return;
    }
    // The contender may be under way: the caller is told now, and it is removed when it is known.
    self->withdrawn_ = true;
    if (auto granted = std::exchange(self->granted_, nullptr)) {
      granted(error);
    }
  });
}

void Contender::Fail(Error error) {
  if (phase_ == Phase::kOver) {
    return;
  }
  phase_ = Phase::kOver;
  Leave();
  if (!contender_path_.empty()) {
    RemoveNode([](const Status&) {});
  }
  if (auto granted = std::exchange(granted_, nullptr)) {
    granted(std::move(error));
  }
}

void Contender::Lose(Error error) {
  phase_ = Phase::kOver;
  Leave();
  std::function<void(const Error&)> callback;
  {
    const std::lock_guard lock(mu_);
    held_ = false;
    lost_ = error;
    callback = std::exchange(lost_callback_, nullptr);
  }
  if (callback) {
    core_->PostCallback([callback = std::move(callback), error] { callback(error); });
  }
  // The session may live on, and a contender without a holder would block the lock.
  RemoveNode([](const Status&) {});
}

void Contender::RemoveNode(std::function<void(Status)> done) {
  std::make_shared<Removal>(core_, contender_path_, std::move(done))->Try();
}

void Contender::Release(std::chrono::nanoseconds timeout, std::function<void(Status)> released) {
  {
    const std::lock_guard lock(mu_);
    released_ = true;
    held_ = false;
    lost_callback_ = nullptr;
  }
  core_->RunOnLoop([self = shared_from_this(), timeout, released = std::move(released)]() mutable {
    if (self->phase_ == Phase::kOver) {
      released({});
      return;
    }
    self->phase_ = Phase::kOver;
    self->Leave();
    auto answer = std::make_shared<std::function<void(Status)>>(std::move(released));
    const auto once = [answer](const Status& status) {
      if (auto callback = std::exchange(*answer, nullptr)) {
        callback(status);
      }
    };
    const TimerId timer =
        self->core_->loop().PostAfter(timeout, [once, path = self->contender_path_] {
          once(MakeError(Code::kUnknownOutcome, "not released in time; it goes on trying", path));
        });
    self->RemoveNode([once, timer, core = self->core_](const Status& status) {
      if (!core->over()) {
        core->loop().Cancel(timer);
      }
      once(status);
    });
  });
}

void Contender::Leave() {
  if (self_watch_ != 0) {
    core_->Unwatch(std::exchange(self_watch_, 0));
  }
  if (predecessor_watch_ != 0) {
    core_->Unwatch(std::exchange(predecessor_watch_, 0));
  }
  if (deadline_timer_ != 0) {
    core_->loop().Cancel(std::exchange(deadline_timer_, 0));
  }
  if (valid_timer_ != 0) {
    core_->loop().Cancel(std::exchange(valid_timer_, 0));
  }
  core_->RemoveListener(std::exchange(listener_, 0));
}

void Contender::OnLost(std::function<void(const Error&)> lost) {
  const std::lock_guard lock(mu_);
  if (released_) {
    return;
  }
  if (lost_) {
    core_->PostCallback([lost = std::move(lost), error = *lost_] { lost(error); });
  } else {
    lost_callback_ = std::move(lost);
  }
}

bool Contender::Held() const {
  const std::lock_guard lock(mu_);
  return held_;
}

bool Contender::ValidNow() const { return Held() && core_->loop().Now() < core_->valid_until(); }

BootTime Contender::valid_until() const { return Held() ? core_->valid_until() : BootTime::min(); }

std::vector<Op> Contender::Guard() const {
  // The contender is there: not released, not expired. And nobody has claimed since: a contender of
  // the same name under a lock that was removed and made anew is not this one.
  return {Op::Check(contender_path_), Op::Check(options_.path, claim_version_)};
}

}  // namespace conclave::internal
