// /api/generate and /api/chat: from the wire to a request that can be submitted.
#pragma once

#include <memory>
#include <string>

#include "api/json.h"
#include "api/warnings.h"
#include "base/settings.h"
#include "fleet/submission.h"
#include "http/server.h"
#include "store/model.h"

namespace drover::api {

enum class Endpoint { kGenerate, kChat };

// What becomes of a wish to think where the model cannot.
enum class ThinkRule { kRefuse, kIgnore };

// The fields that decide what kind of request it is, before the model is known.
struct GenerationHead {
  std::string model;  // as the client wrote it; answers repeat it
  bool stream = true;
  bool empty = false;  // no prompt, no messages: load or unload
  std::optional<Duration> keep_alive;
};

// An error and its status, where Ollama's differs from what the error's code would give.
struct RequestError {
  Error error;
  int status = 0;
};

// Reads what does not depend on the model. Errors: kInvalidArgument.
Result<GenerationHead> read_head(Endpoint endpoint, const Json& body);

// Reads the rest against the model. On success `into` can be submitted, less its client's identity. What is taken in
// another way than it was meant is added to `warnings`.
std::optional<RequestError> read_generation(Endpoint endpoint, const Json& body, const Model& model,
                                            ThinkRule think_rule, const Settings& settings, Submission& into,
                                            Warnings& warnings);

// Reads `options`, and the model's own where they say nothing: the sampling of `work` and the wishes for the load.
std::optional<RequestError> read_options(const Json& body, const Model& model, Submission& into);

// Reads the headers that say who asks and how to queue; `user` is user_of() the body. Error: kInvalidArgument.
Result<void> read_queueing(const http::Exchange& exchange, std::string_view user, Submission& into);

// What a runner needs to load this model.
ModelTarget target_of(const std::shared_ptr<const Model>& model, const std::string& shown_name,
                      const Settings& settings);
// The same for a runner that makes vectors: a model of its own for the dispatcher, whose weights in memory are the same
// pages.
ModelTarget embedding_target_of(const std::shared_ptr<const Model>& model, const std::string& shown_name,
                                const Settings& settings);
// The key of the one to that of the other, and of either to the first.
std::string embedding_key(const std::string& key);
std::string generation_key(std::string key);

// keep_alive: seconds, also as a text, or a Go duration; negative: for ever. Error: Go's text.
Result<std::optional<Duration>> read_keep_alive(const Json* value);

}  // namespace drover::api
