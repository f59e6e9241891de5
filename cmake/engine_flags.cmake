# Read by llama.cpp's own build (CMAKE_PROJECT_INCLUDE), once per project() call.
#
# g++ 12's _tile_loadconfig tells the optimiser that it reads 8 bytes of the 64 that it reads, so the stores that fill
# the tile configuration are dropped, and AMX computes nothing or dies (llama.cpp issue 26954). Without dead store
# elimination that one file is right.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND NOT DEFINED DROVER_AMX_MENDED)
  set(DROVER_AMX_MENDED ON)
  set(DROVER_LLAMA_ROOT ${CMAKE_SOURCE_DIR})
  cmake_language(
    DEFER DIRECTORY ${CMAKE_SOURCE_DIR} CALL set_source_files_properties
    ${CMAKE_SOURCE_DIR}/ggml/src/ggml-cpu/amx/mmq.cpp DIRECTORY ${CMAKE_SOURCE_DIR}/ggml/src PROPERTIES COMPILE_OPTIONS
    "-fno-tree-dse;-fno-dse")
endif()
