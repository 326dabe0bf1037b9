// A fuzz target is one function on bytes and the inputs to begin with. The same source is built
// twice: with libFuzzer (preset fuzz, tests/campaign fuzz), and with driver.cc as an ordinary test
// that mutates the seeds a fixed number of times, the same way each time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

// libFuzzer's name for it. Aborts if a promise is broken; the value is always 0.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace conclave::fuzz {

// Valid inputs, from which mutation finds its way to the interesting invalid ones.
std::vector<std::string> Seeds();

}  // namespace conclave::fuzz
