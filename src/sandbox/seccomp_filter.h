// The system calls that a process in a sandbox may make.
#pragma once

#include "base/result.h"
#include "sandbox/sandbox.h"

namespace drover {

// Installs the filter in all threads of the process; its children inherit it. Sets no_new_privs.
Result<void> restrict_system_calls(SandboxProfile profile);
Result<void> restrict_system_calls_to_answering();  // see enter_prepare_sandbox()

}  // namespace drover
