# The pinned llama.cpp, as the imported target drover_llama.
#
# It is fetched and built once per machine and configuration, under DROVER_CACHE_DIR (default ~/.cache/drover), and
# shared by all presets: sanitizers cover Drover's own code and not the engine.

set(DROVER_ENGINE_VERSION "v0.5.0")

if(DEFINED ENV{DROVER_CACHE_DIR})
  set(engine_cache $ENV{DROVER_CACHE_DIR})
elseif(DEFINED ENV{XDG_CACHE_HOME})
  set(engine_cache $ENV{XDG_CACHE_HOME}/drover)
else()
  set(engine_cache $ENV{HOME}/.cache/drover)
endif()
file(MAKE_DIRECTORY ${engine_cache})
file(LOCK ${engine_cache}/lock TIMEOUT 3600)

if(DROVER_LLAMA_CPP_DIR)
  set(engine_source ${DROVER_LLAMA_CPP_DIR})
else()
  set(engine_source ${engine_cache}/llama.cpp-${DROVER_ENGINE_VERSION})
  execute_process(COMMAND ${CMAKE_CURRENT_LIST_DIR}/fetch_engine.sh ${engine_source} COMMAND_ERROR_IS_FATAL ANY)
endif()
file(LOCK ${engine_cache}/lock RELEASE)

set(engine_options
    -DCMAKE_BUILD_TYPE=Release
    # Its warnings, thousands of lines of them, are for its developers.
    -DCMAKE_C_FLAGS=-w
    -DCMAKE_CXX_FLAGS=-w
    -DCMAKE_C_COMPILER=${CMAKE_C_COMPILER}
    -DCMAKE_CXX_COMPILER=${CMAKE_CXX_COMPILER}
    -DLLAMA_BUILD_COMMON=ON
    -DLLAMA_OPENSSL=OFF
    -DLLAMA_BUILD_TESTS=OFF
    -DLLAMA_BUILD_TOOLS=OFF
    -DLLAMA_BUILD_EXAMPLES=OFF
    -DLLAMA_BUILD_SERVER=OFF
    -DLLAMA_BUILD_APP=OFF)
if(DROVER_PORTABLE)
  list(APPEND engine_options -DBUILD_SHARED_LIBS=ON -DGGML_NATIVE=OFF -DGGML_BACKEND_DL=ON -DGGML_CPU_ALL_VARIANTS=ON)
  set(engine_kind portable)
else()
  list(APPEND engine_options -DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE=ON)
  # A build for this machine is right for this machine only: its CPU is part of the key.
  file(STRINGS /proc/cpuinfo engine_cpu REGEX "^(flags|model name)" LIMIT_COUNT 2)
  set(engine_kind native)
endif()
string(SHA256 engine_key "${engine_source};${engine_options};${CMAKE_CXX_COMPILER_VERSION};${engine_cpu}")
string(SUBSTRING ${engine_key} 0 12 engine_key)
set(engine_build ${engine_cache}/engine-${engine_kind}-${engine_key})

file(LOCK ${engine_build}.lock GUARD FILE TIMEOUT 3600)
if(NOT EXISTS ${engine_build}/built OR DROVER_LLAMA_CPP_DIR)
  message(STATUS "Building llama.cpp ${DROVER_ENGINE_VERSION} (${engine_kind}), once per machine: some minutes")
  execute_process(COMMAND ${CMAKE_COMMAND} -S ${engine_source} -B ${engine_build} -G Ninja ${engine_options}
                  OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
  execute_process(COMMAND ${CMAKE_COMMAND} --build ${engine_build} COMMAND_ERROR_IS_FATAL ANY)
  file(TOUCH ${engine_build}/built)
endif()

add_library(drover_llama INTERFACE)
target_include_directories(
  drover_llama SYSTEM INTERFACE ${engine_source}/include ${engine_source}/ggml/include ${engine_source}/common
                                ${engine_source}/vendor ${engine_source}/src)
target_compile_definitions(drover_llama INTERFACE DROVER_ENGINE_VERSION="${DROVER_ENGINE_VERSION}")
if(DROVER_PORTABLE)
  # The CPU variants are plug-ins that are searched beside the executable.
  target_compile_definitions(drover_llama INTERFACE DROVER_PORTABLE)
  file(GLOB engine_libraries ${engine_build}/bin/*.so*)
  file(COPY ${engine_libraries} DESTINATION ${CMAKE_BINARY_DIR})
  target_link_directories(drover_llama INTERFACE ${engine_build}/bin)
  target_link_libraries(drover_llama INTERFACE llama-common ${engine_build}/common/libllama-common-base.a llama ggml ggml-base Threads::Threads)
  set(CMAKE_BUILD_RPATH "\$ORIGIN")
  set(CMAKE_BUILD_WITH_INSTALL_RPATH ON)
  set(CMAKE_INSTALL_RPATH "\$ORIGIN")
else()
  target_link_libraries(
    drover_llama
    INTERFACE ${engine_build}/common/libllama-common.a
              ${engine_build}/common/libllama-common-base.a
              ${engine_build}/src/libllama.a
              ${engine_build}/ggml/src/libggml.a
              ${engine_build}/ggml/src/libggml-cpu.a
              ${engine_build}/ggml/src/libggml-base.a
              ${engine_build}/vendor/cpp-httplib/libcpp-httplib.a
              ${engine_build}/vendor/hash/libvendor-hash.a
              Threads::Threads
              ${CMAKE_DL_LIBS})
endif()

# The engine's own server, from the same source and with the same options, to measure against: ./dev bench builds it.
# llama.cpp's unused tools and the pages for browsers, which it would download, are left out.
add_custom_target(
  llama_server
  COMMAND ${CMAKE_COMMAND} -S ${engine_source} -B ${engine_build}-server -G Ninja ${engine_options} -DLLAMA_BUILD_TOOLS=ON
          -DLLAMA_BUILD_SERVER=ON -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF
  COMMAND ${CMAKE_COMMAND} --build ${engine_build}-server --target llama-server
  COMMAND ${CMAKE_COMMAND} -E create_symlink ${engine_build}-server/bin/llama-server ${CMAKE_BINARY_DIR}/llama-server
  USES_TERMINAL VERBATIM)
