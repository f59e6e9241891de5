# The pinned llama.cpp, as the imported target drover_llama.
#
# DROVER_ENGINE=prebuilt takes the libraries that npm's package of the release holds: one build with a variant of the
# kernels for each kind of processor, chosen when a runner starts. DROVER_ENGINE=source builds the release for this
# machine's processor. Either is fetched and built once per machine, under DROVER_CACHE_DIR (default ~/.cache/drover),
# and shared by all presets: sanitizers cover Drover's own code and not the engine.

set(DROVER_ENGINE_VERSION "v0.5.0")

if(DEFINED ENV{DROVER_CACHE_DIR})
  set(engine_cache $ENV{DROVER_CACHE_DIR})
elseif(DEFINED ENV{XDG_CACHE_HOME})
  set(engine_cache $ENV{XDG_CACHE_HOME}/drover)
else()
  set(engine_cache $ENV{HOME}/.cache/drover)
endif()

function(fetch_engine part destination)
  execute_process(COMMAND ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/fetch_engine.sh ${part} ${destination} RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "llama.cpp (${part}) could not be fetched; the reason is above")
  endif()
endfunction()

# The npm package names platforms so.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  set(engine_platform linux-x64)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  set(engine_platform linux-arm64)
else()
  set(engine_platform "")
endif()
if(DROVER_ENGINE STREQUAL "prebuilt" AND (NOT engine_platform OR DROVER_LLAMA_CPP_DIR))
  message(STATUS "No prebuilt engine for ${CMAKE_SYSTEM_PROCESSOR} or another source tree: it is built from source")
  set(DROVER_ENGINE source)
endif()

file(MAKE_DIRECTORY ${engine_cache})
file(LOCK ${engine_cache}/lock TIMEOUT 3600)
if(DROVER_LLAMA_CPP_DIR)
  set(engine_source ${DROVER_LLAMA_CPP_DIR})
else()
  set(engine_source ${engine_cache}/llama.cpp-${DROVER_ENGINE_VERSION})
  fetch_engine(source ${engine_source})
endif()
if(DROVER_ENGINE STREQUAL "prebuilt")
  set(engine_prebuilt ${engine_cache}/llama.cpp-${DROVER_ENGINE_VERSION}-${engine_platform})
  fetch_engine(${engine_platform} ${engine_prebuilt})
endif()
file(LOCK ${engine_cache}/lock RELEASE)

add_library(drover_llama INTERFACE)
target_include_directories(
  drover_llama SYSTEM INTERFACE ${engine_source}/include ${engine_source}/ggml/include ${engine_source}/ggml/src ${engine_source}/common
                                ${engine_source}/vendor ${engine_source}/src)
# What the libraries say of themselves, according to their source; compared when a program starts.
function(engine_version file prefix out)
  set(parts "")
  foreach(part MAJOR MINOR PATCH)
    file(STRINGS ${file} line REGEX "^set\\(${prefix}_VERSION_${part} ")
    string(REGEX REPLACE "[^0-9]" "" number "${line}")
    list(APPEND parts ${number})
  endforeach()
  list(JOIN parts "." version)
  set(${out} ${version} PARENT_SCOPE)
endfunction()
engine_version(${engine_source}/CMakeLists.txt LLAMA engine_llama_version)
engine_version(${engine_source}/ggml/CMakeLists.txt GGML engine_ggml_version)
target_compile_definitions(
  drover_llama INTERFACE DROVER_ENGINE_VERSION="${DROVER_ENGINE_VERSION}" DROVER_LLAMA_VERSION="${engine_llama_version}"
                         DROVER_GGML_VERSION="${engine_ggml_version}")

# A build of the source for this machine is right for this machine only: its processor is part of the key.
set(engine_options
    -DCMAKE_BUILD_TYPE=Release
    # Its warnings, thousands of lines of them, are for its developers.
    -DCMAKE_C_FLAGS=-w
    -DCMAKE_CXX_FLAGS=-w
    -DCMAKE_C_COMPILER=${CMAKE_C_COMPILER}
    -DCMAKE_CXX_COMPILER=${CMAKE_CXX_COMPILER}
    -DBUILD_SHARED_LIBS=OFF
    -DGGML_NATIVE=ON
    -DLLAMA_BUILD_COMMON=ON
    -DLLAMA_OPENSSL=OFF
    -DLLAMA_BUILD_TESTS=OFF
    -DLLAMA_BUILD_TOOLS=OFF
    -DLLAMA_BUILD_EXAMPLES=OFF
    -DLLAMA_BUILD_SERVER=OFF
    -DLLAMA_BUILD_APP=OFF)
file(STRINGS /proc/cpuinfo engine_cpu REGEX "^(flags|model name|Features)" LIMIT_COUNT 2)
file(SHA256 ${CMAKE_CURRENT_LIST_DIR}/engine_flags.cmake engine_flags)
string(SHA256 engine_key "${engine_source};${engine_options};${engine_flags};${CMAKE_CXX_COMPILER_VERSION};${engine_cpu}")
string(SUBSTRING ${engine_key} 0 12 engine_key)
# Not a part of the key: all checkouts share one build.
list(APPEND engine_options -DCMAKE_PROJECT_INCLUDE=${CMAKE_CURRENT_LIST_DIR}/engine_flags.cmake)
set(engine_build ${engine_cache}/engine-source-${engine_key})

if(DROVER_ENGINE STREQUAL "prebuilt")
  # Program and libraries lie beside each other; nothing is searched anywhere else.
  set(engine_folder ${CMAKE_BINARY_DIR}/engine)
  file(GLOB engine_libraries ${engine_prebuilt}/lib*.so)
  file(COPY ${engine_libraries} DESTINATION ${engine_folder})
  target_link_libraries(
    drover_llama
    INTERFACE ${engine_folder}/libllama-common.so
              ${engine_folder}/libllama.${DROVER_ENGINE_VERSION}.so
              ${engine_folder}/libggml.${DROVER_ENGINE_VERSION}.so
              ${engine_folder}/libggml-base.so
              # The engine's libraries search the current directory for libraries that are not loaded yet. So the
              # program itself needs all of them, and has loaded them by then.
              "-Wl,--push-state,--no-as-needed,-lstdc++,-lm,-lgcc_s,--pop-state"
              Threads::Threads
              ${CMAKE_DL_LIBS})
  target_compile_definitions(drover_llama INTERFACE DROVER_ENGINE_PREBUILT)
  set(CMAKE_BUILD_RPATH ${engine_folder})
else()
  file(LOCK ${engine_build}.lock GUARD FILE TIMEOUT 3600)
  if(NOT EXISTS ${engine_build}/built OR DROVER_LLAMA_CPP_DIR)
    message(STATUS "Building llama.cpp ${DROVER_ENGINE_VERSION} from source, once per machine: some minutes")
    # Threads are Drover's in either engine (docs/adr/0017-threads.md), so there is no OpenMP here.
    execute_process(COMMAND ${CMAKE_COMMAND} -S ${engine_source} -B ${engine_build} -G Ninja ${engine_options} -DGGML_OPENMP=OFF
                    OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
    execute_process(COMMAND ${CMAKE_COMMAND} --build ${engine_build} COMMAND_ERROR_IS_FATAL ANY)
    file(TOUCH ${engine_build}/built)
  endif()
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

# The engine's own server to measure against, from the same source, as its own build makes it: ./dev bench builds it.
# llama.cpp's unused tools and the pages for browsers, which it would download, are left out.
add_custom_target(
  llama_server
  COMMAND ${CMAKE_COMMAND} -S ${engine_source} -B ${engine_build}-server -G Ninja ${engine_options} -DLLAMA_BUILD_TOOLS=ON
          -DLLAMA_BUILD_SERVER=ON -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF
  COMMAND ${CMAKE_COMMAND} --build ${engine_build}-server --target llama-server
  COMMAND ${CMAKE_COMMAND} -E create_symlink ${engine_build}-server/bin/llama-server ${CMAKE_BINARY_DIR}/llama-server
  USES_TERMINAL VERBATIM)
