// Confines a process before it reads untrusted data: it loses access to other files, the network, other programs and
// other processes. A fault in the code that reads a model then affects only that model.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/settings.h"

namespace drover {

// The task of the process afterwards. docs/adr/0023-sandbox.md lists what each profile allows.
enum class SandboxProfile {
  kRunner,    // computes: starts threads and children, writes no file
  kGpu,       // a runner that also uses devices and the driver's cache folder
  kQuantize,  // computes, and writes the files of SandboxRules::writable
};

struct SandboxRules {
  SandboxProfile profile = SandboxProfile::kRunner;
  std::vector<std::string> readable = {};  // files, and folders with their content
  std::vector<std::string> writable = {};  // existing files
};

// The kernel's support.
struct SandboxSupport {
  bool seccomp = false;
  int landlock = 0;                       // version of the interface; 0: none
  std::vector<std::string> missing = {};  // missing features and their consequences, as sentences without a full stop
  std::string parts() const;              // "seccomp, Landlock 7"
};
SandboxSupport sandbox_support();

// The value of DROVER_SANDBOX in this process. The server has refused invalid values.
SandboxMode wanted_sandbox();

// Confines the calling process and its children to its profile, permanently. Call it while the process has one thread,
// and after it has opened all files except those of the rules. A path that does not exist is skipped. Returns the
// restrictions that could not be applied, as sentences. With kRequire they are an error, kInternal, and the process may
// be partly confined.
Result<std::vector<std::string>> enter_sandbox(const SandboxRules& rules, SandboxMode mode);

// The same for a process that from now on only computes and answers over its open sockets: it opens no file, starts no
// thread or process, and makes no executable memory. It may be in a sandbox already. Error with kRequire: the kernel's
// reason.
Result<void> enter_prepare_sandbox(SandboxMode mode);

// The folder for the compiled code of GPU drivers; enter_sandbox() makes it and directs the drivers to it.
std::string gpu_cache_folder();

}  // namespace drover
