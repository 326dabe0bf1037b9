# How a target of this project is declared: one call per folder, sources and headers listed by name,
# dependencies as the table of folders in coord/ARCHITECTURE.md allows them.

option(CONCLAVE_WERROR "Treat warnings as errors" OFF)
option(CONCLAVE_COVERAGE "Instrument for gcov" OFF)
set(CONCLAVE_SANITIZE "" CACHE STRING "Semicolon separated list for -fsanitize=")

set(CMAKE_POSITION_INDEPENDENT_CODE ON)

# Flags for our own code only: linked PRIVATE and inside BUILD_INTERFACE, so none reaches a consumer.
add_library(conclave_options INTERFACE)
target_compile_options(conclave_options INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
  -fstack-protector-strong
  "-ffile-prefix-map=${PROJECT_SOURCE_DIR}/="
  $<$<BOOL:${CONCLAVE_WERROR}>:-Werror>
  $<$<CONFIG:Debug>:-g1>
  $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>)
target_compile_definitions(conclave_options INTERFACE
  _GLIBCXX_ASSERTIONS
  $<$<NOT:$<CONFIG:Debug>>:_FORTIFY_SOURCE=2>)
foreach(sanitizer IN LISTS CONCLAVE_SANITIZE)
  target_compile_options(conclave_options INTERFACE -fsanitize=${sanitizer} -fno-omit-frame-pointer)
  target_link_options(conclave_options INTERFACE -fsanitize=${sanitizer})
endforeach()
if("undefined" IN_LIST CONCLAVE_SANITIZE)
  # Thrift keeps any number received in a variable of an enumeration without a fixed type. The check
  # has no other object: our own enumerations have fixed types.
  target_compile_options(conclave_options INTERFACE -fno-sanitize=enum)
endif()
if(CONCLAVE_COVERAGE)
  target_compile_options(conclave_options INTERFACE --coverage)
  target_link_options(conclave_options INTERFACE --coverage)
endif()

# CONCLAVE_MUTANT(number) in a source of the product (never in a header) is a place where tests/mutants
# can plant a bug: the constant false, but for the copies of these sources that exist for that.
set(conclave_mutants "-DCONCLAVE_MUTANT(number)=false")

# conclave_library(NAME SRCS a.cc ... HDRS a.h ... [DEPS targets] [PRIVATE_DEPS targets])
# A static library with self-contained headers (checked by the target all_verify_interface_header_sets).
function(conclave_library name)
  cmake_parse_arguments(PARSE_ARGV 1 A "" "" "SRCS;HDRS;DEPS;PRIVATE_DEPS")
  if(A_SRCS)
    add_library(${name} STATIC ${A_SRCS})
    target_sources(${name} PUBLIC FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR} FILES ${A_HDRS})
    target_link_libraries(${name} PUBLIC ${A_DEPS}
      PRIVATE $<BUILD_INTERFACE:conclave_options> ${A_PRIVATE_DEPS})
    if(CMAKE_CURRENT_SOURCE_DIR MATCHES "/(consensus|persist|coord|client|thrift)(/|$)" AND
       NOT CMAKE_CURRENT_SOURCE_DIR MATCHES "/tests/")
      target_compile_options(${name} PRIVATE ${conclave_mutants})
    endif()
  else()
    add_library(${name} INTERFACE)
    target_sources(${name} INTERFACE FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR} FILES ${A_HDRS})
    target_link_libraries(${name} INTERFACE ${A_DEPS})
  endif()
  add_library(conclave::${name} ALIAS ${name})
endfunction()

# conclave_test(NAME SRCS a_test.cc ... [DEPS targets] [LABELS unit ...] [TIMEOUT seconds] [SINGLE])
# A GoogleTest binary; each of its tests is a ctest test. SINGLE registers the whole binary as one
# test: for binaries of very many cheap cases, where a process for each would cost more than the case.
# Tests labelled e2e run alone: they start processes of their own and watch how long things take.
function(conclave_test name)
  cmake_parse_arguments(PARSE_ARGV 1 A "SINGLE" "TIMEOUT" "SRCS;DEPS;LABELS")
  if(NOT A_LABELS)
    set(A_LABELS unit)
  endif()
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 120)
  endif()
  set(serial OFF)
  if(e2e IN_LIST A_LABELS)
    set(serial ON)
  endif()
  add_executable(${name} ${A_SRCS})
  target_link_libraries(${name} PRIVATE conclave_options ${A_DEPS} GTest::gmock_main)
  if(A_SINGLE)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS "${A_LABELS}" TIMEOUT ${A_TIMEOUT}
      RUN_SERIAL ${serial})
  else()
    gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60
      PROPERTIES LABELS "${A_LABELS}" TIMEOUT ${A_TIMEOUT} RUN_SERIAL ${serial})
  endif()
endfunction()
