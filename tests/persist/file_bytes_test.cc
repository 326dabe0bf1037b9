#include "tests/persist/file_bytes.h"

#include <algorithm>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace conclave::persist::testing {
namespace {

TEST(FileBytesTest, IsWhatAStringWouldBe) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 200; ++round) {
    FileBytes file;
    std::string model;
    std::vector<std::pair<FileBytes, std::string>> copies;
    for (int step = 0; step < 30; ++step) {
      const std::size_t offset = random() % 20'000;
      std::string data(random() % 3 == 0 ? random() % 10'000 : random() % 50, '\0');
      if (random() % 3 != 0) {  // else nothing but zeros
        for (std::size_t i = 0; i < data.size() / (1 + random() % 3); ++i) {
          data[i] = static_cast<char>(random() % 4);
        }
      }
      if (random() % 4 == 0) {
        copies.emplace_back(file, model);
      }
      if (random() % 2 == 0) {
        file.Write(offset, data);
      } else {
        file.Write(offset, FileBytes(data));
      }
      model.resize(std::max(model.size(), offset + data.size()), '\0');
      model.replace(offset, data.size(), data);
      ASSERT_EQ(file.str(), model);
      ASSERT_EQ(file.size(), model.size());
      std::string part(100, 'x');
      const std::size_t from = random() % 30'000;
      part.resize(file.Read(from, part.size(), part.data()));
      ASSERT_EQ(part, from < model.size() ? model.substr(from, 100) : "");
    }
    for (const auto& [copy, content] : copies) {
      ASSERT_EQ(copy.str(), content);
    }
  }
}

}  // namespace
}  // namespace conclave::persist::testing
