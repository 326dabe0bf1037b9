# Debian's libthrift-dev ships no CMake package. Defines Thrift::thrift, Thrift_COMPILER, Thrift_VERSION.
find_path(Thrift_INCLUDE_DIR thrift/Thrift.h)
find_library(Thrift_LIBRARY thrift)
find_program(Thrift_COMPILER thrift)
mark_as_advanced(Thrift_INCLUDE_DIR Thrift_LIBRARY Thrift_COMPILER)
if(Thrift_COMPILER)
  execute_process(COMMAND ${Thrift_COMPILER} --version OUTPUT_VARIABLE thrift_version_text)
  string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" Thrift_VERSION "${thrift_version_text}")
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Thrift
  REQUIRED_VARS Thrift_LIBRARY Thrift_INCLUDE_DIR VERSION_VAR Thrift_VERSION)
if(Thrift_FOUND AND NOT TARGET Thrift::thrift)
  add_library(Thrift::thrift UNKNOWN IMPORTED)
  set_target_properties(Thrift::thrift PROPERTIES
    IMPORTED_LOCATION "${Thrift_LIBRARY}" INTERFACE_INCLUDE_DIRECTORIES "${Thrift_INCLUDE_DIR}")
endif()
