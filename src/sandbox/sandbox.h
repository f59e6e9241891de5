// What a process gives up before it reads what a stranger has made: files that are not its own, the network, other
// programs, other processes. After that a fault in the code that reads a model costs that model and nothing else.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/settings.h"

namespace drover {

// What the process does afterwards; see docs/adr/0023-sandbox.md for what each of them may do.
enum class SandboxProfile {
  kRunner,    // computes: threads, children of its own, no file is written
  kGpu,       // a runner that also uses devices and a cache folder of its driver's
  kQuantize,  // computes, and writes the files of SandboxRules::writable
};

struct SandboxRules {
  SandboxProfile profile = SandboxProfile::kRunner;
  std::vector<std::string> readable = {};  // files, and folders with all that is in them
  std::vector<std::string> writable = {};  // files that are there already
};

// What the kernel can do of it.
struct SandboxSupport {
  bool seccomp = false;
  int landlock = 0;                       // the version of its interface; 0: there is none
  std::vector<std::string> missing = {};  // what is not there and what that means, as sentences without a stop
  std::string parts() const;              // "seccomp, Landlock 7"
};
SandboxSupport sandbox_support();

// What DROVER_SANDBOX says in this process; the server has refused what it cannot say.
SandboxMode wanted_sandbox();

// The calling process gives up all that its profile does not need, for ever, and so do its children. To be called while
// it has one thread, and after it has opened all but the files of the rules. A path that there is not is left out.
// Returns what could not be given up, as sentences. Error, kInternal, with kRequire: the same, and the process may be
// half inside.
Result<std::vector<std::string>> enter_sandbox(const SandboxRules& rules, SandboxMode mode);

// The same for a process that from now on answers over sockets it has, and computes: it opens no file, starts no thread
// and no process, and makes no code. It may be inside a sandbox already. Error, with kRequire: what the kernel says.
Result<void> enter_prepare_sandbox(SandboxMode mode);

// The folder in which libraries of GPU drivers keep what they compile; enter_sandbox() makes it and has them use it.
std::string gpu_cache_folder();

}  // namespace drover
