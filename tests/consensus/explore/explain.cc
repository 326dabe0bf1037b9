// How a broken invariant comes about: the path to it, shortened and in words.

#include <algorithm>
#include <utility>

#include "tests/consensus/cluster.h"
#include "tests/consensus/explore/search.h"

namespace conclave::raft::explore {

std::string Search::Words(Event event, const std::string& what_else) const {
  const std::string name = std::to_string(event.slot + 1);
  if (event.input >= kFirstMessage) {
    const MessageNumber message = event.input - kFirstMessage;
    const char* how = event.how == Event::How::kLose        ? " (lost)"
                      : event.how == Event::How::kDuplicate ? " (it will come again)"
                                                            : "";
    return std::to_string(catalogue_.look(message).from) + " -> " + name + ": " +
           testing::Describe(catalogue_.envelope(message).message) + how;
  }
  if (event.input >= static_cast<Input>(Local::kLearnTerm)) {
    return name + " campaigns, is refused, and learns of term " +
           std::to_string(event.input - static_cast<Input>(Local::kLearnTerm));
  }
  switch (static_cast<Local>(event.input)) {
    case Local::kPersist:
      return name + " finishes a write";
    case Local::kCampaign:
      return name + " campaigns";
    case Local::kElect:
      return name + " campaigns, and the others promise their votes";
    case Local::kPropose:
      return name + " is asked to append a command";
    case Local::kHeartbeat:
      return name + " sends a heartbeat";
    case Local::kStepDown:
      return name + " has heard of no quorum for long";
    default:
      return name + " crashes" + what_else + " and starts";
  }
}

std::vector<std::string> Search::Words(const std::vector<Event>& events) const {
  std::vector<std::string> lines;
  for (const Event event : events) {
    lines.push_back(Words(event, ""));
  }
  return lines;
}

/// The events up to the first violation, or nothing if one of them cannot happen or none comes.
std::optional<std::vector<Event>> Search::Replay(const std::vector<Event>& events) {
  judge_.Forgive();
  scenario_.clear();
  State state = First();
  State next;
  for (std::size_t i = 0; i < events.size(); ++i) {
    const Event event = events[i];
    const Summary& before = catalogue_.summary(state.members[event.slot]);
    const bool leads = before.leads();
    bool can = true;
    if (event.input >= kFirstMessage) {
      can = state.net.Contains(event.input - kFirstMessage);
    } else if (event.input == static_cast<Input>(Local::kPersist)) {
      can = before.writes_pending;
    } else if (event.input != static_cast<Input>(Local::kCrash)) {
      const bool needs_leader = event.input >= static_cast<Input>(Local::kPropose) &&
                                event.input <= static_cast<Input>(Local::kStepDown);
      can = leads == needs_leader;
    }
    if (event.input > static_cast<Input>(Local::kLearnTerm) && event.input < kFirstMessage) {
      const Term term = event.input - static_cast<Input>(Local::kLearnTerm);
      can = can && term > before.term &&
            std::any_of(state.members.begin(), state.members.end(), [&](MemberState member) {
              return catalogue_.summary(member).durable_term == term;
            });
    }
    if (!can || !Follow(state, event, next)) {
      return std::nullopt;
    }
    std::string line = Words(event, before.writes_pending ? ", loses its unfinished writes," : "");
    if (!judge_.violation()) {
      judge_.Check(next, event.slot);
      const Summary& after = catalogue_.summary(next.members[event.slot]);
      line += "   [" + std::to_string(event.slot + 1) + ": " + ToString(after.role) + " of term " +
              std::to_string(after.term) + ", log";
      for (std::size_t entry = 0; entry < after.size; ++entry) {
        const bool durable =
            entry < after.durable_size && after.durable.at(entry) == after.log.at(entry);
        line += " " + std::to_string(entry + 1) + "@" +
                std::to_string(catalogue_.TermOf(after.log.at(entry))) + (durable ? "" : "?");
      }
      line += ", commit " + std::to_string(after.commitIndex) + "]";
    }
    scenario_.push_back(std::move(line));
    if (judge_.violation()) {
      return std::vector<Event>(events.begin(),
                                events.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    }
    state = next;
  }
  return std::nullopt;
}

bool Search::Explain(std::vector<Event> events, Report& report) {
  const auto replay = [&](const std::vector<Event>& tried) {
    auto events_used = Replay(tried);
    if (events_used) {
      report.violation = judge_.violation();
      report.scenario = scenario_;
    }
    return events_used;
  };
  auto used = replay(events);
  if (!used) {
    return false;
  }
  events = std::move(*used);
  // Depth first search takes long ways: what the violation does not need is left out.
  for (bool shorter = true; shorter;) {
    shorter = false;
    for (std::size_t i = events.size(); i-- > 0;) {
      if (i >= events.size()) {
        continue;
      }
      std::vector<Event> fewer = events;
      fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(i));
      if (auto again = replay(fewer)) {
        events = std::move(*again);
        shorter = true;
      }
    }
  }
  return true;
}

}  // namespace conclave::raft::explore
