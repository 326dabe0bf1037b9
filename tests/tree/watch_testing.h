// What the tests of watches share: changes in one line, and events as text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "coord/tree/path.h"
#include "coord/tree/watch_hub.h"

namespace conclave::tree {

inline Change MakeChange(ChangeType type, std::string_view path, std::string_view data = "") {
  Change change;
  change.type = type;
  change.path = path;
  change.value = Value::Make({}, BaseName(path), data);
  return change;
}

inline Change Created(std::string_view path, std::string_view data = "") {
  return MakeChange(ChangeType::kCreated, path, data);
}

inline Change Deleted(std::string_view path) { return MakeChange(ChangeType::kDeleted, path); }

inline Change DataChanged(std::string_view path, std::string_view data = "") {
  return MakeChange(ChangeType::kDataChanged, path, data);
}

// Gives the changes of one entry their place in history.
inline std::vector<Change> At(std::int64_t zxid, std::vector<Change> changes) {
  std::int32_t ordinal = 0;
  for (Change& change : changes) {
    change.zxid = zxid;
    change.ordinal = ordinal++;
  }
  return changes;
}

inline std::string_view NameOf(EventType type) {
  switch (type) {
    case EventType::kCreated:
      return "created";
    case EventType::kDeleted:
      return "deleted";
    case EventType::kDataChanged:
      return "changed";
    case EventType::kChildrenChanged:
      return "children";
  }
  return "?";
}

// "7.0 created /a [1,2]"
inline std::string ToText(const Event& event) {
  std::string text =
      std::to_string(event.cursor.zxid) + "." + std::to_string(event.cursor.ordinal) + " ";
  text += NameOf(event.type);
  text += " ";
  text += event.path();
  text += " [";
  for (const WatchId id : event.watch_ids) {
    text += text.back() == '[' ? "" : ",";
    text += std::to_string(id);
  }
  return text + "]";
}

inline std::vector<std::string> ToText(const std::vector<Event>& events) {
  std::vector<std::string> texts;
  for (const Event& event : events) {
    texts.push_back(ToText(event));
  }
  return texts;
}

}  // namespace conclave::tree
