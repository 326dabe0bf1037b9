// A checkpoint as a map, for the tests of freezing and loading.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "coord/tree/frozen_rows.h"
#include "coord/tree/state_loader.h"
#include "coord/tree/state_machine.h"

namespace conclave::tree {

using Loaded = tl::expected<std::unique_ptr<StateMachine>, LoadError>;

// What a snapshot database would hold.
struct Checkpoint {
  std::map<std::string, std::string> rows;
  std::int64_t zxid = 0;
  Digest digest;
  std::set<std::string> keys;  // Of the last delta.
  std::size_t put = 0;         // Rows with a value of the last delta, the state row included.
  std::size_t gone = 0;        // Rows that the last delta takes away.

  // Puts a delta over it; checks order, number and bytes on the way.
  void Put(FrozenRows& frozen) {
    std::string previous;
    std::uint64_t count = 0;
    std::uint64_t bytes = 0;
    put = gone = 0;
    keys.clear();
    frozen.ForEach([&](std::string_view key, std::optional<std::string_view> value) {
      EXPECT_LT(previous, key) << "the keys must ascend";
      previous = key;
      keys.emplace(key);
      ++count;
      bytes += key.size() + value.value_or("").size();
      if (value.has_value()) {
        ++put;
        rows[std::string(key)] = *value;
      } else {
        ++gone;
        rows.erase(std::string(key));
      }
    });
    EXPECT_EQ(count, frozen.rows());
    EXPECT_EQ(bytes, frozen.bytes());
    zxid = frozen.zxid();
    digest = frozen.digest();
  }

  // Freezes in one go, and puts that over it.
  void Take(StateMachine& machine) {
    machine.BeginFreeze();
    while (!machine.FreezeSlice(7)) {
    }
    FrozenRows frozen = machine.TakeFrozen();
    Put(frozen);
  }

  Loaded Load(const Limits& limits = Limits()) const {
    StateLoader loader(limits);
    for (const auto& [key, value] : rows) {
      if (!loader.Add(key, value)) {
        EXPECT_TRUE(loader.error().has_value());
        break;
      }
    }
    return loader.Finish(zxid, digest);
  }
};

}  // namespace conclave::tree
