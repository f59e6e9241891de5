// Answers with vectors: of /api/embed, /api/embeddings and /v1/embeddings.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "api/answer_form.h"

namespace drover::api {

enum class EmbedFace { kEmbed, kEmbeddings, kOpenai };

// What of a request its answer has to know.
struct EmbedAnswer {
  EmbedFace face = EmbedFace::kEmbed;
  std::string model;
  std::int64_t dimensions = 0;  // fewer than the model gives; 0: all
  bool base64 = false;
};

std::unique_ptr<AnswerForm> make_embed_form(EmbedAnswer answer);

}  // namespace drover::api
