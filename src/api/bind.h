// From what a client asks for to a request that can be submitted. This is the one place where a request meets its
// model: what the model cannot do is refused, and what the request leaves open is as the model says.
#pragma once

#include <memory>
#include <string>

#include "api/ask.h"
#include "base/settings.h"
#include "fleet/submission.h"
#include "store/model.h"
#include "store/model_store.h"

namespace drover::api {

// Looks the model up. Errors: kInvalidArgument (no name, or none that a model could have), kNotFound, kInternal (it is
// there and broken).
Result<std::shared_ptr<const Model>> find_model(ModelStore& store, const Ask& ask);

// On success only the identity of its client and how it is to be queued are missing. Takes the input of `ask`. One that
// unloads the model is bound to any. Errors: kInvalidArgument, kTooLarge.
Result<Submission> bind_ask(Ask& ask, const std::shared_ptr<const Model>& model, const Settings& settings);

// What a runner needs to load this model.
ModelTarget target_of(const std::shared_ptr<const Model>& model, const std::string& shown_name,
                      const Settings& settings);
// The same for a runner that makes vectors: a model of its own for the dispatcher, whose weights in memory are the same
// pages.
ModelTarget embedding_target_of(const std::shared_ptr<const Model>& model, const std::string& shown_name,
                                const Settings& settings);
// Converts a generation model's key to its embedding model's key, and either key to the generation model's.
std::string embedding_key(const std::string& key);
std::string generation_key(std::string key);

}  // namespace drover::api
