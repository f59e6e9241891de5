// What the sanitizers need of a process: a name for "this build has one".

#pragma once

namespace drover {

// Sanitizers write reports, look names up in the program's file, and stop their process's other threads to look for
// leaks. A program that is built with one is a test, and its sandbox lets it.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace drover
