// CHECK states what must hold if our own code is right. It is on in release builds and never depends on input.
#pragma once

#include <cstdio>
#include <cstdlib>

#define DROVER_CHECK(condition)                                                          \
  do {                                                                                   \
    if (!(condition)) {                                                                  \
      std::fprintf(stderr, "%s:%d: CHECK failed: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                      \
    }                                                                                    \
  } while (false)
