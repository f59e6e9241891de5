// A worker process: prepares one request after the other. A text that crashes it, or for which it is killed, fails only
// its own request.
#pragma once

#include "engine/chat_template.h"
#include "engine/llama_model.h"

namespace drover {

// Processor milliseconds that the runner may need to make a request's grammar and output parser again.
inline constexpr int kSetUpMsMax = 100;

// Answers requests from the socket, descriptor 3, until it is closed. `chat`: null for embeddings. `seconds`: processor
// time for one request. The process must be detached and limited (prepare/process_limits.h).
[[noreturn]] void run_worker(const LlamaModel& model, const ChatTemplate* chat, unsigned seconds);

}  // namespace drover
