# How every target of Drover is built: warnings, sanitizers, and the two kinds of target there are.

find_program(DROVER_CCACHE ccache)
if(DROVER_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${DROVER_CCACHE})
endif()

add_library(drover_options INTERFACE)
target_include_directories(drover_options INTERFACE ${PROJECT_SOURCE_DIR}/src)
target_compile_options(drover_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Werror=return-type
                                                -Werror=switch)
if(DROVER_SANITIZE)
  target_compile_options(drover_options INTERFACE -fsanitize=${DROVER_SANITIZE} -fno-omit-frame-pointer -O1)
  target_link_options(drover_options INTERFACE -fsanitize=${DROVER_SANITIZE})
endif()
find_program(DROVER_MOLD mold)
if(DROVER_MOLD)
  target_link_options(drover_options INTERFACE -fuse-ld=mold)
endif()

# drover_library(NAME sources… [DEPS targets…]): a static library drover_NAME, its public headers under src/.
function(drover_library name)
  cmake_parse_arguments(arg "" "" "DEPS" ${ARGN})
  add_library(drover_${name} STATIC ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(drover_${name} PUBLIC drover_options ${arg_DEPS})
endfunction()

# drover_test(NAME sources… [DEPS targets…] [LABELS labels…]): a GoogleTest program, registered with ctest.
function(drover_test name)
  cmake_parse_arguments(arg "" "" "DEPS;LABELS" ${ARGN})
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE drover_options ${arg_DEPS} GTest::gtest GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  if(NOT arg_LABELS)
    set(arg_LABELS unit)
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT 300)
endfunction()
