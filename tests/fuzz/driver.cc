// Runs a fuzz target without libFuzzer.
//
//   NAME [--runs=N] [--write_seeds=DIR] [FILE...]
//
// FILEs (a crash that libFuzzer has found, say) are run as they are, and nothing else then.
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "tests/fuzz/fuzz.h"

namespace conclave::fuzz {
namespace {

void RunOne(const std::string& input) {
  // A copy of its own, of exactly this size, so that reading past the end is noticed.
  const std::vector<std::uint8_t> bytes(input.begin(), input.end());
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

std::size_t Below(std::mt19937_64& random, std::size_t bound) {
  return bound == 0 ? 0 : static_cast<std::size_t>(random() % bound);
}

// One change of the kinds that decoders get wrong: a flipped bit, an extreme byte, a cut, a run of
// bytes twice, a piece of another input.
void Mutate(std::string& input, const std::vector<std::string>& seeds, std::mt19937_64& random) {
  const std::size_t at = Below(random, input.size());
  switch (Below(random, 6)) {
    case 0:
      if (!input.empty()) {
        input[at] = static_cast<char>(input[at] ^ (1 << Below(random, 8)));
      }
      break;
    case 1:
      if (!input.empty()) {
        constexpr char kExtremes[] = {'\0', '\x01', '\x7f', '\x80', '\xff'};
        input[at] = kExtremes[Below(random, std::size(kExtremes))];
      }
      break;
    case 2:
      input.resize(at);
      break;
    case 3:
      input.insert(at, input.substr(at, 1 + Below(random, 8)));
      break;
    case 4:
      input.erase(at, 1 + Below(random, 8));
      break;
    default: {
      const std::string& other = seeds[Below(random, seeds.size())];
      const std::size_t from = Below(random, other.size());
      input.insert(at, other.substr(from, 1 + Below(random, 64)));
      break;
    }
  }
}

int RunSeeds(std::uint64_t runs) {
  const std::vector<std::string> seeds = Seeds();
  for (const std::string& seed : seeds) {
    RunOne(seed);
  }
  RunOne("");
  constexpr std::uint64_t kSeed = 20'260'101;
  std::mt19937_64 random(kSeed);  // NOLINT(bugprone-random-generator-seed): the same each time
  constexpr std::size_t kMutationsMax = 8;
  for (std::uint64_t run = 0; run < runs; ++run) {
    std::string input = seeds[Below(random, seeds.size())];
    for (std::size_t left = 1 + Below(random, kMutationsMax); left > 0; --left) {
      Mutate(input, seeds, random);
    }
    RunOne(input);
  }
  std::cout << runs << " mutations of " << seeds.size() << " seeds\n";
  return EXIT_SUCCESS;
}

int WriteSeeds(const std::string& directory) {
  int number = 0;
  for (const std::string& seed : Seeds()) {
    std::ofstream file(directory + "/seed-" + std::to_string(number++), std::ios::binary);
    file << seed;
    if (!file.flush()) {
      std::cerr << "cannot write to " << directory << '\n';
      return EXIT_FAILURE;
    }
  }
  return EXIT_SUCCESS;
}

int RunFiles(const std::vector<std::string>& files) {
  for (const std::string& name : files) {
    std::ifstream file(name, std::ios::binary);
    if (!file) {
      std::cerr << "cannot read " << name << '\n';
      return EXIT_FAILURE;
    }
    RunOne(std::string((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>()));
  }
  return EXIT_SUCCESS;
}

int Main(const std::vector<std::string>& arguments) {
  constexpr std::string_view kRuns = "--runs=";
  constexpr std::string_view kWrite = "--write_seeds=";
  constexpr std::uint64_t kRunsDefault = 20'000;
  std::uint64_t runs = kRunsDefault;
  std::vector<std::string> files;
  for (const std::string& argument : arguments) {
    if (argument.rfind(kRuns, 0) == 0) {
      runs = std::stoull(argument.substr(kRuns.size()));
    } else if (argument.rfind(kWrite, 0) == 0) {
      return WriteSeeds(argument.substr(kWrite.size()));
    } else {
      files.push_back(argument);
    }
  }
  return files.empty() ? RunSeeds(runs) : RunFiles(files);
}

}  // namespace
}  // namespace conclave::fuzz

int main(int argc, char** argv) {
  return conclave::fuzz::Main(std::vector<std::string>(argv + 1, argv + argc));
}
