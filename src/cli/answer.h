// Asks a model and shows its answer as it comes.
#pragma once

#include <string>

#include "base/result.h"
#include "cli/session.h"
#include "client/api_client.h"
#include "client/json.h"
#include "terminal/terminal.h"

namespace drover::cli {

struct Answer {
  std::string content;
  std::string thinking;
  Json last;                 // the last object of the stream, with the timings
  bool interrupted = false;  // by Ctrl-C; the connection was closed
};

// POSTs to /api/generate or /api/chat and writes the answer to standard output: as it is to a file or pipe, and to a
// terminal wrapped, with thinking in grey. A spinner turns on the terminal until the first piece arrives.
Result<Answer> stream_answer(ApiClient& client, const std::string& path, const Json& body, const Session& session,
                             InterruptGuard& guard);

// Has the server load the model of a request without a prompt, or with keep_alive 0 unload it, with a spinner while it
// takes. Ctrl-C, where there is a guard, ends it with kCanceled.
Result<void> load_model(ApiClient& client, const Json& request, InterruptGuard* guard = nullptr);

// The timings of --verbose, one a line, from the last object of a stream.
std::string format_timings(const Json& last);

}  // namespace drover::cli
