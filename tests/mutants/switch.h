// Forced into every file of the build with -DCONCLAVE_MUTANTS=ON, and into no other: what
// CONCLAVE_MUTANT means there. Everywhere else it is the constant false, and costs nothing.
#pragma once

#include <cstdlib>

namespace conclave::mutants {

/// The planted bug that this process has: the number in CONCLAVE_MUTANT of the environment, 0 for
/// none. Thread: any.
inline int Chosen() {
  static const int chosen = [] {
    const char* number = std::getenv("CONCLAVE_MUTANT");
    return number == nullptr ? 0 : std::atoi(number);
  }();
  return chosen;
}

}  // namespace conclave::mutants

/// True where bug `number` of tests/mutants/catalogue.toml is to be done.
#define CONCLAVE_MUTANT(number) (::conclave::mutants::Chosen() == (number))
