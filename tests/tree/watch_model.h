// A naive model of what a client must be told: the whole history and a list of watches, gone
// through from the start for every question. Shares nothing with coord/tree but the words.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "coord/tree/watch_hub.h"

namespace conclave::tree {

class WatchModel {
 public:
  struct Watched {
    WatchId id;
    std::string path;
    WatchMode mode;
    Cursor since;
    // Set: removed by a client that had been told as far as this.
    std::optional<Cursor> removed = std::nullopt;
  };

  void Append(const std::vector<Change>& changes) {
    history_.insert(history_.end(), changes.begin(), changes.end());
  }

  std::vector<Watched>& watches() { return watches_; }

  // The events of the changes in (after, through], in the manner of ToText(Event).
  std::vector<std::string> Told(Cursor after, Cursor through) const {
    std::vector<std::string> told;
    std::set<std::size_t> gone;  // one-shot watches
    for (const Change& change : history_) {
      const Cursor at{change.zxid, change.ordinal};
      const std::string parent = Up(change.path);
      std::set<WatchId> about_self;
      std::set<WatchId> about_parent;
      for (std::size_t i = 0; i < watches_.size(); ++i) {
        const Watched& watch = watches_[i];
        if (at <= watch.since || gone.count(i) != 0 || (watch.removed && at > *watch.removed)) {
          continue;
        }
        if (IsAboutSelf(watch, change)) {
          about_self.insert(watch.id);
        } else if (IsAboutParent(watch, change, parent)) {
          about_parent.insert(watch.id);
        } else {
          continue;
        }
        if (watch.mode == WatchMode::kData || watch.mode == WatchMode::kExist ||
            watch.mode == WatchMode::kChild) {
          gone.insert(i);
        }
      }
      if (at > after && at <= through) {
        static const std::map<ChangeType, std::string> kNames = {
            {ChangeType::kCreated, "created"},
            {ChangeType::kDeleted, "deleted"},
            {ChangeType::kDataChanged, "changed"}};
        Tell(at, kNames.at(change.type), change.path, about_self, &told);
        Tell(at, "children", parent, about_parent, &told);
      }
    }
    return told;
  }

 private:
  static std::string Up(const std::string& path) {
    const std::size_t slash = path.find_last_of('/');
    return path == "/" ? "none" : slash == 0 ? "/" : path.substr(0, slash);
  }

  // The columns of the table: data and recursive watches, and child watches on a delete.
  static bool IsAboutSelf(const Watched& watch, const Change& change) {
    if (watch.mode == WatchMode::kPersistentRecursive) {
      const std::string beneath = watch.path == "/" ? "/" : watch.path + "/";
      return (change.path + "/").compare(0, beneath.size(), beneath) == 0;
    }
    if (watch.path != change.path) {
      return false;
    }
    return watch.mode != WatchMode::kChild || change.type == ChangeType::kDeleted;
  }

  static bool IsAboutParent(const Watched& watch, const Change& change, const std::string& parent) {
    return (watch.mode == WatchMode::kChild || watch.mode == WatchMode::kPersistent) &&
           watch.path == parent && change.type != ChangeType::kDataChanged;
  }

  static void Tell(Cursor at, const std::string& what, const std::string& path,
                   const std::set<WatchId>& ids, std::vector<std::string>* told) {
    if (ids.empty()) {
      return;
    }
    std::string text =
        std::to_string(at.zxid) + "." + std::to_string(at.ordinal) + " " + what + " " + path + " [";
    for (const WatchId id : ids) {
      text += (text.back() == '[' ? "" : ",") + std::to_string(id);
    }
    told->push_back(text + "]");
  }

  std::vector<Change> history_;
  std::vector<Watched> watches_;
};

}  // namespace conclave::tree
