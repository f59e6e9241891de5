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
option(DROVER_WERROR "Warnings are errors; on in all presets, off for other compilers and those who package Drover" OFF)
if(DROVER_WERROR)
  target_compile_options(drover_options INTERFACE -Werror)
endif()
# What g++ 12 says of the standard library's and Asio's own code where it is inlined (GCC bugs 105329, 105651 and their like).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(drover_options INTERFACE -Wno-array-bounds -Wno-maybe-uninitialized -Wno-mismatched-new-delete
                                                  -Wno-restrict -Wno-stringop-overflow -Wno-stringop-overread)
endif()
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

# Many sources in one: a build takes less time, and finds fewer mistakes, such as a missing #include. On for sanitizers alone:
# the release preset and clang compile each source by itself.
option(DROVER_UNITY "Compile the sources of a library or test in groups of eight" OFF)
if(DROVER_UNITY AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # What has no linkage counts as a mistake where it stands in a file that is included.
  target_compile_options(drover_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-subobject-linkage>)
endif()
# These have a name in their unnamed namespace that another source of their group has too: they are compiled by themselves.
set(drover_sources_apart
    bench_report.cc dispatcher_settle.cc exchange.cc model.cc openai_request.cc pattern.cc prefix_tree.cc process_limits.cc
    quantizer.cc regex.cc schema_rewrite.cc work_page.cc worker.cc
    bind_test.cc call_arguments_test.cc cell_pool_test.cc chat_formats_test.cc chat_template_test.cc fake_engine_test.cc
    jinja_check_test.cc parameters_test.cc prefix_archive_test.cc step_budget_machines_test.cc step_budget_test.cc)
function(drover_group_sources target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${DROVER_UNITY} UNITY_BUILD_BATCH_SIZE 8)
  foreach(source IN LISTS ARGN)
    get_filename_component(file ${source} NAME)
    if(file IN_LIST drover_sources_apart)
      set_source_files_properties(${source} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
    endif()
  endforeach()
endfunction()

# drover_library(NAME sources… [DEPS targets…]): a static library drover_NAME, its public headers under src/.
function(drover_library name)
  cmake_parse_arguments(arg "" "" "DEPS" ${ARGN})
  add_library(drover_${name} STATIC ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(drover_${name} PUBLIC drover_options ${arg_DEPS})
  drover_group_sources(drover_${name} ${arg_UNPARSED_ARGUMENTS})
  if(DROVER_PRECOMPILE)
    target_precompile_headers(drover_${name} REUSE_FROM drover_precompiled)
  endif()
endfunction()

# Tests of functions that know no thread, no clock and no process: ThreadSanitizer has nothing to look at, and they are not
# built for it. The other presets run them.
set(drover_tests_without_threads
    batch_sim batch_test dispatcher_test guard_test http_router_test policy_test prepare_policy_test prepare_sim registry_test
    replay_test schema_test template_test)

# drover_test(NAME sources… [DEPS targets…] [LABELS labels…] [SHARDS n]): a GoogleTest program, registered with ctest. SHARDS:
# its tests take so long that they are divided among n processes.
function(drover_test name)
  cmake_parse_arguments(arg "" "SHARDS" "DEPS;LABELS" ${ARGN})
  if(DROVER_SANITIZE STREQUAL "thread" AND name IN_LIST drover_tests_without_threads)
    return()
  endif()
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE drover_options ${arg_DEPS} GTest::gtest GTest::gtest_main)
  drover_group_sources(${name} ${arg_UNPARSED_ARGUMENTS})
  if(DROVER_PRECOMPILE)
    target_precompile_headers(${name} REUSE_FROM drover_precompiled_tests)
  endif()
  if(NOT arg_LABELS)
    set(arg_LABELS unit)
  endif()
  if(NOT arg_SHARDS)
    set(arg_SHARDS 1)
  endif()
  math(EXPR last "${arg_SHARDS} - 1")
  foreach(shard RANGE ${last})
    # A report is named after its program, so each shard has a name of its own.
    set(program ${name})
    if(shard GREATER 0)
      set(program ${name}_${shard})
      add_custom_command(TARGET ${name} POST_BUILD
                         COMMAND ${CMAKE_COMMAND} -E create_symlink ${name} ${CMAKE_CURRENT_BINARY_DIR}/${program})
    endif()
    add_test(NAME ${program} COMMAND ${CMAKE_CURRENT_BINARY_DIR}/${program})
    # Only a hang reaches this limit: under a sanitizer the slowest takes five minutes. What is divided begins first.
    set_tests_properties(${program} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT 1200 COST ${arg_SHARDS})
    if(arg_SHARDS GREATER 1)
      set_tests_properties(${program} PROPERTIES ENVIRONMENT
                                                 "GTEST_TOTAL_SHARDS=${arg_SHARDS};GTEST_SHARD_INDEX=${shard}")
    endif()
  endforeach()
endfunction()
