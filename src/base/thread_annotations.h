// Annotations for clang's thread safety analysis (-Wthread-safety): the compiler checks which mutex guards what. They
// mean nothing to other compilers. base/mutex.h has the mutex that they refer to.
#pragma once

#if defined(__clang__)
#define DROVER_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define DROVER_THREAD_ANNOTATION(x)
#endif

#define CAPABILITY(name) DROVER_THREAD_ANNOTATION(capability(name))
#define SCOPED_CAPABILITY DROVER_THREAD_ANNOTATION(scoped_lockable)

// Data: it is read and written only while the mutex is held. PT_: the same for the object that a pointer points to.
#define GUARDED_BY(mutex) DROVER_THREAD_ANNOTATION(guarded_by(mutex))
#define PT_GUARDED_BY(mutex) DROVER_THREAD_ANNOTATION(pt_guarded_by(mutex))

// Functions: the caller holds the mutex; the caller does not hold it; the function locks it; the function unlocks it.
#define REQUIRES(...) DROVER_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) DROVER_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))
#define ACQUIRE(...) DROVER_THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define RELEASE(...) DROVER_THREAD_ANNOTATION(release_capability(__VA_ARGS__))
