// Whether this program is built with a sanitizer.
#pragma once

namespace drover {

// Sanitizers write reports, read symbols from the program's file, and stop the other threads to look for leaks. A
// program that is built with a sanitizer is a test, and its sandbox allows this.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace drover
