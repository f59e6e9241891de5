#include "api/embed_answer.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include "api/answer_parts.h"
#include "api/json.h"

namespace drover::api {
namespace {

// Scales to length 1. False: there are numbers in it that are none.
bool normalize(std::vector<float>& vector) {
  double sum = 0;
  for (const float number : vector) sum += static_cast<double>(number) * number;
  if (!std::isfinite(sum)) return false;
  const double scale = 1 / std::max(std::sqrt(sum), 1e-12);
  for (float& number : vector) number = static_cast<float>(number * scale);
  return true;
}

// The vector that a client gets: normalised, and once more after it was cut to fewer dimensions. A request for more
// dimensions than the model gives has all of them, as with Ollama.
std::optional<std::vector<float>> finished_vector(const std::string& bytes, std::int64_t dimensions) {
  std::vector<float> vector(bytes.size() / sizeof(float));
  std::memcpy(vector.data(), bytes.data(), vector.size() * sizeof(float));
  if (!normalize(vector)) return std::nullopt;
  if (dimensions > 0 && static_cast<std::uint64_t>(dimensions) < vector.size()) {
    vector.resize(static_cast<std::size_t>(dimensions));
    normalize(vector);
  }
  return vector;
}

void append_numbers(std::string& out, const std::vector<float>& vector) {
  out += '[';
  for (std::size_t i = 0; i < vector.size(); ++i) {
    if (i > 0) out += ',';
    fmt::format_to(std::back_inserter(out), "{}", vector[i]);
  }
  out += ']';
}

void append_base64(std::string& out, const std::vector<float>& vector) {
  const std::size_t size = vector.size() * sizeof(float);
  std::string text((size + 2) / 3 * 4 + 1, '\0');  // with the terminator that OpenSSL writes
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                     reinterpret_cast<const unsigned char*>(vector.data()), static_cast<int>(size));
  out += '"';
  out.append(text, 0, static_cast<std::size_t>(length));
  out += '"';
}

class EmbedForm final : public AnswerForm {
 public:
  explicit EmbedForm(EmbedAnswer answer) : answer_(std::move(answer)) {}

  // There was no input: the request has only loaded the model, or asked to unload it.
  std::string whole(const pb::Chunk& /*all*/, const Ending& /*ending*/) override {
    return answer_.face == EmbedFace::kEmbeddings ? R"({"embedding":[]})" : opening_text() + "]}";
  }

  Result<std::string> vectors(const pb::Embedded& embedded, const Timing& timing) override {
    std::string out = opening_text();
    for (int i = 0; i < embedded.vectors_size(); ++i) {
      const auto vector = finished_vector(embedded.vectors(i), answer_.dimensions);
      if (!vector) return invalid("embedding contains NaN or Inf values");
      append_vector(out, *vector, i);
    }
    append_closing(out, timing, embedded.prompt_tokens());
    return out;
  }

 private:
  // What stands before and behind the vectors.
  std::string opening_text() const {
    if (answer_.face == EmbedFace::kEmbeddings) return R"({"embedding":)";
    if (answer_.face == EmbedFace::kOpenai) return R"({"object":"list","data":[)";
    std::string out = R"({"model":)";
    append_json_string(out, answer_.model);
    return out + R"(,"embeddings":[)";
  }

  void append_closing(std::string& out, const Timing& timing, std::uint32_t tokens) const {
    if (answer_.face == EmbedFace::kEmbeddings) {
      out += '}';
    } else if (answer_.face == EmbedFace::kOpenai) {
      out += R"(],"model":)";
      append_json_string(out, answer_.model);
      fmt::format_to(std::back_inserter(out), R"(,"usage":{{"prompt_tokens":{0},"total_tokens":{0}}}}})", tokens);
    } else {
      fmt::format_to(std::back_inserter(out), R"(],"total_duration":{},"load_duration":{},"prompt_eval_count":{}}})",
                     nanoseconds(Clock::now() - timing.arrived), nanoseconds(timing.load), tokens);
    }
  }

  void append_vector(std::string& out, const std::vector<float>& vector, int index) const {
    const bool openai = answer_.face == EmbedFace::kOpenai;
    if (index > 0) out += ',';
    if (openai) out += R"({"object":"embedding","embedding":)";
    if (answer_.base64) {
      append_base64(out, vector);
    } else {
      append_numbers(out, vector);
    }
    if (openai) fmt::format_to(std::back_inserter(out), R"(,"index":{}}})", index);
  }

  const EmbedAnswer answer_;
};

}  // namespace

std::unique_ptr<AnswerForm> make_embed_form(EmbedAnswer answer) {
  return std::make_unique<EmbedForm>(std::move(answer));
}

}  // namespace drover::api
