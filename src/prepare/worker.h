// A worker process: prepares one request after the other. A text that ends it, or for which it is killed, costs its own
// request.
#pragma once

#include "engine/chat_template.h"
#include "engine/llama_model.h"

namespace drover {

// Milliseconds of the processor that the runner may need for a request's grammar and the output's parser, which it
// makes again.
inline constexpr int kSetUpMsMax = 100;

// Answers what comes over the socket, which is descriptor 3, until it is closed. `chat`: null for embeddings.
// `seconds`: of the processor, for one request. The process has been detached and limited (prepare/process_limits.h).
[[noreturn]] void run_worker(const LlamaModel& model, const ChatTemplate* chat, unsigned seconds);

}  // namespace drover
