# How every target of Drover is built: warnings, sanitizers, and the two kinds of target there are.

find_program(DROVER_CCACHE ccache)
if(DROVER_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # Without these it does not cache what uses precompiled headers.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${DROVER_CCACHE})
  add_compile_options($<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fpch-preprocess>)
endif()

add_library(drover_options INTERFACE)
target_include_directories(drover_options INTERFACE ${PROJECT_SOURCE_DIR}/src)
target_compile_options(drover_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Werror=return-type
                                                -Werror=switch)
# What g++ 12 says of the standard library's own code where it is inlined (GCC bugs 105329, 105651).
target_compile_options(drover_options INTERFACE -Wno-array-bounds -Wno-maybe-uninitialized -Wno-restrict
                                                -Wno-stringop-overflow -Wno-stringop-overread)
if(DROVER_SANITIZE)
  target_compile_options(drover_options INTERFACE -fsanitize=${DROVER_SANITIZE} -fno-omit-frame-pointer -O1)
  target_link_options(drover_options INTERFACE -fsanitize=${DROVER_SANITIZE})
  if(DROVER_SANITIZE STREQUAL "thread")
    target_compile_options(drover_options INTERFACE -Wno-tsan) # Asio's fences, which it does not see; see tests/tsan.supp
  endif()
endif()
find_program(DROVER_MOLD mold)
if(DROVER_MOLD)
  target_link_options(drover_options INTERFACE -fuse-ld=mold)
endif()

# What many files include is read once per build and not once per file: for the library, and for its tests.
option(DROVER_PRECOMPILE "Precompile the headers that many files include" ON)
set(drover_headers
    <algorithm> <array> <chrono> <filesystem> <fstream> <functional> <map> <memory> <optional> <random> <set> <span> <string>
    <string_view> <unordered_map> <variant> <vector> <fmt/format.h> <nlohmann/json.hpp>)
function(drover_precompile name)
  cmake_parse_arguments(arg "" "" "DEPS" ${ARGN})
  file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/${name}.cc CONTENT "")
  add_library(${name} OBJECT ${CMAKE_BINARY_DIR}/${name}.cc)
  target_link_libraries(${name} PRIVATE drover_options ${arg_DEPS})
  target_precompile_headers(${name} PRIVATE ${arg_UNPARSED_ARGUMENTS})
endfunction()

# drover_library(NAME sources… [DEPS targets…]): a static library drover_NAME, its public headers under src/.
function(drover_library name)
  cmake_parse_arguments(arg "" "" "DEPS" ${ARGN})
  add_library(drover_${name} STATIC ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(drover_${name} PUBLIC drover_options ${arg_DEPS})
  if(DROVER_PRECOMPILE)
    target_precompile_headers(drover_${name} REUSE_FROM drover_precompiled)
  endif()
endfunction()

# drover_test(NAME sources… [DEPS targets…] [LABELS labels…]): a GoogleTest program, registered with ctest.
function(drover_test name)
  cmake_parse_arguments(arg "" "" "DEPS;LABELS" ${ARGN})
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE drover_options ${arg_DEPS} GTest::gtest GTest::gtest_main)
  if(DROVER_PRECOMPILE)
    target_precompile_headers(${name} REUSE_FROM drover_precompiled_tests)
  endif()
  add_test(NAME ${name} COMMAND ${name})
  if(NOT arg_LABELS)
    set(arg_LABELS unit)
  endif()
  # Only a hang reaches this limit: under a sanitizer the slowest takes five minutes.
  set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT 1200)
endfunction()
