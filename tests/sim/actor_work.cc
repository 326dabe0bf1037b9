// What clients do to the tree.
#include <utility>

#include "tests/sim/actor.h"

namespace conclave::sim {

using server::Answer;
using server::ReplyHead;
using tree::Action;
using tree::Code;
using tree::CreateMode;

namespace {

constexpr std::size_t kRecentMax = 30;

bool SameAnswer(const tree::Reply& a, const tree::Reply& b) {
  return a.code == b.code && a.path == b.path && a.stat == b.stat && a.zxid == b.zxid &&
         a.multi == b.multi;
}

}  // namespace

server::Caller Actor::MakeCaller() {
  server::Caller caller;
  caller.session = session_;
  caller.secret = secret_;
  caller.min_zxid = last_zxid_;
  caller.after_seq = write_ ? seq_ - 1 : seq_;
  caller.identity = "sim";
  // As the client library does: an answer on a connection that dies must not take events with it.
  caller.no_events = true;
  return caller;
}

std::string Actor::DrawKey() {
  return fmt::format("/s/k{}", random_.Uniform(0, world_->knobs().keys - 1));
}

tree::Op Actor::DrawOp() {
  const std::uint64_t dice = random_.Uniform(0, 99);
  const std::string data = fmt::format("{}.{}", number_, ++data_);
  if (dice < 4) {
    return tree::Create{.path = "/s", .data = data};
  }
  if (dice < 34) {
    const std::int32_t version =
        Percent(30) ? static_cast<std::int32_t>(random_.Uniform(0, 3)) : tree::kAnyVersion;
    return tree::SetData{.path = DrawKey(), .data = data, .version = version};
  }
  if (dice < 55) {
    return tree::Create{
        .path = DrawKey(), .data = data, .mode = static_cast<CreateMode>(random_.Uniform(0, 3))};
  }
  if (dice < 70) {
    return tree::Create{.path = DrawKey() + "/n-",
                        .data = data,
                        .mode = static_cast<CreateMode>(random_.Uniform(2, 3))};
  }
  if (dice < 78 || recent_.empty()) {
    return tree::Delete{.path = DrawKey()};
  }
  const std::string path = recent_[random_.Uniform(0, recent_.size() - 1)];
  return dice < 95 ? tree::Op(tree::Delete{.path = path})
                   : tree::Op(tree::SetData{.path = path, .data = data});
}

tree::Command Actor::DrawCommand() {
  if (Percent(12)) {
    tree::Multi multi;
    const std::uint64_t count = random_.Uniform(1, 4);
    for (std::uint64_t i = 0; i < count; ++i) {
      multi.ops.push_back(Percent(25) ? tree::Op(tree::Check{.path = DrawKey()}) : DrawOp());
    }
    return multi;
  }
  return std::visit(
      [](auto op) -> tree::Command {
        if constexpr (std::is_same_v<decltype(op), tree::Check>) {
          return tree::Multi{.ops = {op}};
        } else {
          return op;
        }
      },
      DrawOp());
}

void Actor::WorkLater() {
  const std::uint64_t generation = generation_;
  const std::int64_t pause_ns = static_cast<std::int64_t>(
      random_.Uniform(0, static_cast<std::uint64_t>(world_->knobs().think_ms * kMs)));
  world_->loop().At(world_->loop().now_ns() + pause_ns, [this, generation] {
    if (generation == generation_) {
      Work();
    }
  });
}

void Actor::Work() {
  if (write_) {
    SendWrite();
  } else if (stopping_) {
    return;
  } else if (world_->knobs().give_up && random_.Uniform(0, 299) == 0) {
    GiveUp();
  } else if (Percent(4)) {
    AddOneShot();
  } else if (Percent(60)) {
    BeginWrite();
  } else {
    Read();
  }
}

void Actor::BeginWrite() {
  write_.emplace();
  write_->seq = ++seq_;
  write_->closes = random_.Uniform(0, 199) == 0;
  write_->command =
      write_->closes ? tree::Command(tree::CloseSession{.session = session_}) : DrawCommand();
  record().writes[seq_].known_zxid = history_->known_zxid;
  SendWrite();
}

void Actor::SendWrite() {
  server::Caller caller = MakeCaller();
  caller.seq = write_->seq;
  caller.acked_through = write_->seq - 1;
  const auto arrived = [this](ReplyHead& head, Answer<server::WriteReply>& answer) {
    WriteArrived(head, answer);
  };
  if (write_->closes) {
    Call<server::Nothing>(
        [caller](server::Server& at, server::Callback<server::Nothing> done) {
          at.CloseSession(caller, std::move(done));
        },
        {},
        [this](ReplyHead& head, Answer<server::Nothing>& answer) {
          if (answer || answer.error().error.code == Code::kSessionExpired) {
            world_->journal().Count("sessions closed");
            Over(head.zxid);
          } else if (!Handle(head, answer.error().error.code, answer.error().error.message)) {
            world_->journal().Fail("client {}: cannot close: {}", number_,
                                   answer.error().error.message);
          }
        },
        world_->knobs().patience_ms);
    return;
  }
  Call<server::WriteReply>(
      [caller, command = write_->command](server::Server& at,
                                          server::Callback<server::WriteReply> done) {
        at.Write(caller, command, std::move(done));
      },
      [this, session = session_, seq = write_->seq](ReplyHead&,
                                                    Answer<server::WriteReply>& answer) {
        NoteWriteAnswer(session, seq, answer);
      },
      arrived, world_->knobs().patience_ms);
}

void Actor::NoteWriteAnswer(std::int64_t session, std::int64_t seq,
                            const Answer<server::WriteReply>& answer) {
  tree::Reply reply;
  if (answer) {
    reply = *answer;
  } else {
    const server::Failure& failure = answer.error();
    const Code code = failure.error.code;
    if (tree::ActionOf(code) != Action::kAnswer) {
      return;
    }
    const bool current = session == session_ && write_ && write_->seq == seq;
    if (code == Code::kSequenceGap || (code == Code::kReplyDropped && current)) {
      world_->journal().Fail("C3: session {} seq {}: {}", session, seq, failure.error.message);
      return;
    }
    if (code == Code::kReplyDropped) {
      return;  // an attempt that comes long after its answer has been taken
    }
    reply.code = code;
    reply.path = failure.error.path;
    reply.zxid = failure.error.zxid;
  }
  WriteRecord& write = history_->sessions[session].writes[seq];
  if (++write.answers > 1) {
    world_->journal().Count("writes answered again");
  }
  if (!write.answered) {
    write.answered = true;
    write.reply = std::move(reply);
  } else if (!SameAnswer(write.reply, reply)) {
    world_->journal().Fail("C3: session {} seq {} was answered {} {} at {}, and now {} {} at {}",
                           session, seq, tree::NameOf(write.reply.code), write.reply.path,
                           write.reply.zxid, tree::NameOf(reply.code), reply.path, reply.zxid);
  }
}

void Actor::WriteArrived(const ReplyHead& head, const Answer<server::WriteReply>& answer) {
  const Code code = answer ? Code::kOk : answer.error().error.code;
  if (!write_ || (!answer && Handle(head, code, answer.error().error.message))) {
    return;
  }
  TakeHead(head, false);
  record().writes[write_->seq].acknowledged = true;
  world_->journal().hash().Add(static_cast<std::uint64_t>(head.zxid));
  ++answered_;
  world_->journal().Count(write_->repeated ? "writes repeated" : "writes acknowledged");
  if (answer && !answer->path.empty() && std::holds_alternative<tree::Create>(write_->command)) {
    recent_.push_back(answer->path);
    if (recent_.size() > kRecentMax) {
      recent_.pop_front();
    }
  }
  if (!write_->repeated && !stopping_ && Percent(5)) {
    write_->repeated = true;
    if (Percent(50)) {
      Break();  // and so at another member
      return;
    }
  } else {
    write_.reset();
  }
  WorkLater();
}

void Actor::Read() {
  ReadRecord read;
  read.session = session_;
  const std::uint64_t dice = random_.Uniform(0, 99);
  std::string path = Percent(20) && !recent_.empty() ? recent_.back() : DrawKey();
  if (dice < 50) {
    read.request.op = server::GetRequest{std::move(path)};
  } else if (dice < 75) {
    read.request.op = server::ExistsRequest{std::move(path)};
  } else {
    read.request.op = server::ChildrenRequest{.path = Percent(50) ? "/s" : path, .after = {}};
  }
  const std::uint64_t mode = random_.Uniform(0, 9);
  read.request.mode = mode < 5   ? server::ReadMode::kLinearizable
                      : mode < 9 ? server::ReadMode::kSession
                                 : server::ReadMode::kStale;
  read.known_zxid = mode < 5 ? history_->known_zxid : (mode < 9 ? last_zxid_ : 0);
  Call<server::ReadReply>(
      [caller = MakeCaller(), request = read.request](server::Server& at,
                                                      server::Callback<server::ReadReply> done) {
        at.Read(caller, request, std::move(done));
      },
      [this, read](ReplyHead& head, Answer<server::ReadReply>& answer) {
        NoteRead(read, head, answer);
      },
      [this](ReplyHead& head, Answer<server::ReadReply>& answer) {
        if (!answer && Handle(head, answer.error().error.code, answer.error().error.message)) {
          return;
        }
        TakeHead(head, false);
        ++answered_;
        WorkLater();
      },
      world_->knobs().patience_ms);
}

void Actor::NoteRead(ReadRecord read, const ReplyHead& head,
                     const Answer<server::ReadReply>& answer) {
  if (!answer) {
    read.code = answer.error().error.code;
    if (read.code != Code::kNoNode) {
      return;  // judged by nobody: the state was not looked at
    }
  } else {
    if (answer->value && answer->value->has_data()) {
      read.data = std::string(answer->value->data());
    }
    read.exists = answer->exists;
    read.stat = answer->stat;
    read.names = answer->names;
  }
  read.zxid = head.zxid;
  world_->journal().Count(
      read.request.mode == server::ReadMode::kLinearizable ? "linearizable reads" : "other reads");
  if (read.zxid < read.known_zxid) {
    world_->journal().Fail("C1: a read shows zxid {}, and {} was known when it was asked for",
                           read.zxid, read.known_zxid);
  }
  history_->reads.push_back(std::move(read));
}

}  // namespace conclave::sim
