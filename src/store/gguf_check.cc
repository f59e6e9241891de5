#include "store/gguf_check.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "store/jinja_check.h"

namespace drover {
namespace {

using nlohmann::ordered_json;

// The engine's own bounds (src/llama-hparams.h, src/llama-model.cpp in llama.cpp).
constexpr std::uint64_t kBlocksMax = 512;
constexpr std::uint64_t kExpertsMax = 1024;
constexpr std::uint64_t kPoolingMax = 4;

// What a vocabulary of this kind adds to a text, unless it says otherwise, and which token that is.
struct Tokenizer {
  std::string_view model;
  std::optional<std::uint64_t> bos, eos, separator;
  bool adds_bos, adds_eos, adds_separator;
};
constexpr Tokenizer kTokenizers[] = {
    {"llama", 1, 2, std::nullopt, true, false, false},
    {"bert", 101, std::nullopt, 102, true, false, true},
    {"gpt2", 11, 11, std::nullopt, false, false, false},
    {"t5", std::nullopt, 1, std::nullopt, false, true, false},
    {"gemma4", std::nullopt, std::nullopt, std::nullopt, true, false, false},
};

std::string shown(const ordered_json& value) {
  if (value.is_number_float()) return fmt::format("{}", value.get<double>());
  std::string text = to_text(value);
  constexpr std::size_t kShownMax = 60;
  return text.size() <= kShownMax ? text : text.substr(0, kShownMax) + "...";
}

// Goes through the keys one after the other; the first problem is kept.
class ModelCheck {
 public:
  explicit ModelCheck(const Gguf& model) : model_(model), prefix_(model.architecture() + ".") {}

  Result<void> run() {
    counts();
    experts();
    reals();
    scaling();
    heads();
    vocabulary();
    templates();
    weights();
    if (problem_.empty()) return {};
    return invalid(problem_);
  }

 private:
  void fail(std::string problem) {
    if (problem_.empty()) problem_ = std::move(problem);
  }

  // All values of a key below the architecture: one, or one for each layer. Text and the like are none.
  template <typename Use>
  void each(std::string_view key, const Use& use) const {
    const ordered_json* value = model_.find_in_architecture(key);
    if (value == nullptr) return;
    if (!value->is_array()) return use(*value);
    for (const ordered_json& one : *value) use(one);
  }

  std::uint64_t largest(std::string_view key) const {
    std::uint64_t most = 0;
    each(key, [&](const ordered_json& value) {
      if (value.is_number_unsigned()) most = std::max(most, value.get<std::uint64_t>());
    });
    return most;
  }

  void range(std::string_view key, std::uint64_t least, std::uint64_t most) {
    each(key, [&](const ordered_json& value) {
      if (!value.is_number_integer()) return;  // the engine refuses it
      const bool negative = !value.is_number_unsigned() && value.get<std::int64_t>() < 0;
      const std::uint64_t number = negative ? 0 : value.get<std::uint64_t>();
      if (!negative && number >= least && number <= most) return;
      const std::string wanted =
          least == most ? fmt::format("{}", most) : fmt::format("between {} and {}", least, most);
      fail(fmt::format("{}{} is {}, and must be {}", prefix_, key, shown(value), wanted));
    });
  }

  void counts() {
    range("block_count", 1, kBlocksMax);
    range("nextn_predict_layers", 0, model_.block_count());
    range("pooling_type", 0, kPoolingMax);
  }

  void experts() {
    const std::uint64_t experts = largest("expert_count");
    range("expert_count", 0, kExpertsMax);
    // Of these architectures one expert is the same as none, and the engine forgets how many are used.
    if (experts <= 1 && model_.architecture().starts_with("hunyuan")) return;
    range("expert_used_count", 0, experts);
    if (experts > 0 && largest("expert_used_count") == 0) {
      fail(fmt::format("{}expert_used_count is 0 or missing, and must be between 1 and {}", prefix_, experts));
    }
    const std::uint64_t groups = largest("expert_group_count");
    range("expert_group_count", 0, experts > 0 ? experts - 1 : 0);
    if (groups <= 1) return;
    if (experts % groups != 0) {
      fail(fmt::format("{}expert_group_count is {}, and must divide the {} experts", prefix_, groups, experts));
    }
    range("expert_group_used_count", 1, groups - 1);
    if (largest("expert_group_used_count") == 0) {
      fail(fmt::format("{}expert_group_used_count is missing, and must be between 1 and {}", prefix_, groups - 1));
    }
  }

  // What is computed with: a value that is no number makes nothing but such values.
  void reals() {
    for (const auto& [key, value] : model_.metadata().items()) {
      if (!key.starts_with(prefix_)) continue;
      const bool bounded = key.ends_with("_epsilon") || key.find("rope.freq_base") != std::string::npos;
      for (const ordered_json& one : value.is_array() ? value : ordered_json::array({value})) {
        if (!one.is_number_float()) continue;
        const double number = one.get<double>();
        if (std::isnan(number)) fail(fmt::format("{} is not a number", key));
        if (bounded && (number < 0 || std::isinf(number))) {
          fail(fmt::format("{} is {}, and must be a number from 0 on", key, shown(one)));
        }
      }
    }
  }

  void scaling() {
    const ordered_json* kind = model_.find_in_architecture("rope.scaling.type");
    if (kind == nullptr || !kind->is_string()) return;
    for (const char* known : {"none", "linear", "yarn", "longrope"}) {
      if (*kind == known) return;
    }
    fail(fmt::format("{}rope.scaling.type is {}, and must be none, linear, yarn or longrope", prefix_, shown(*kind)));
  }

  // Each head for keys and values serves the same number of other heads. A layer without any is recurrent.
  void heads() {
    for (std::uint64_t layer = 0; layer < std::min(model_.block_count(), kBlocksMax); ++layer) {
      const std::uint64_t heads = of_layer("attention.head_count", layer);
      const std::uint64_t shared = of_layer("attention.head_count_kv", layer);
      if (heads == 0 || shared == 0 || heads % shared == 0) continue;
      return fail(fmt::format("{}attention.head_count_kv is {}, and must divide attention.head_count, {}", prefix_,
                              shared, heads));
    }
  }

  std::uint64_t of_layer(std::string_view key, std::uint64_t layer) const {
    const ordered_json* value = model_.find_in_architecture(key);
    if (value != nullptr && value->is_array()) value = layer < value->size() ? &(*value)[layer] : nullptr;
    return value != nullptr && value->is_number_unsigned() ? value->get<std::uint64_t>() : 0;
  }

  void vocabulary() {
    const ordered_json* kind = model_.find("tokenizer.ggml.model");
    if (kind == nullptr || !kind->is_string()) return;
    if (*kind == "none" || *kind == "no_vocab") {
      return fail(fmt::format("tokenizer.ggml.model is {}: a model without a vocabulary cannot be used", shown(*kind)));
    }
    if (model_.find("tokenizer.ggml.tokens") != nullptr && model_.vocabulary_size() == 0) {
      fail("tokenizer.ggml.tokens is empty, and must have at least one token");
    }
    if (const auto pair = model_.repeated_token()) {
      fail(fmt::format("tokenizer.ggml.tokens: {} and {} are the same token", pair->first, pair->second));
    }
    for (const Tokenizer& known : kTokenizers) {
      if (*kind == known.model) added_tokens(known);
    }
  }

  // A token that is put before or after every text has to be there.
  void added_tokens(const Tokenizer& of) {
    const ordered_json* form = model_.find("tokenizer.ggml.pre");
    const bool no_bos = form != nullptr && (*form == "glm4" || *form == "chatglm-bpe");
    // The engine's spelling.
    added_token("bos_token_id", "add_bos_token", of.adds_bos, of.model == "bert" || of.model == "gemma4",
                no_bos ? std::nullopt : of.bos);
    added_token("eos_token_id", "add_eos_token", of.adds_eos, false, of.eos);
    added_token("seperator_token_id", "add_sep_token", of.adds_separator, of.model == "bert", of.separator);
  }

  void added_token(const char* id_key, const char* flag_key, bool by_default, bool always,
                   std::optional<std::uint64_t> default_id) {
    const std::string prefix = "tokenizer.ggml.";
    const ordered_json* flag = model_.find(prefix + flag_key);
    const bool added = always || (flag != nullptr && flag->is_boolean() ? flag->get<bool>() : by_default);
    if (!added || (default_id && *default_id < model_.vocabulary_size())) return;
    const ordered_json* id = model_.find(prefix + id_key);
    const bool there = id != nullptr && id->is_number_unsigned() && id->get<std::uint64_t>() < model_.vocabulary_size();
    if (there) return;
    fail(fmt::format("{}{} is {}, and must be one of the {} tokens", prefix, id_key,
                     id == nullptr ? "missing" : shown(*id), model_.vocabulary_size()));
  }

  void templates() {
    constexpr std::string_view kKey = "tokenizer.chat_template";
    for (const auto& [key, value] : model_.metadata().items()) {
      const bool is_template = key == kKey || key.starts_with(std::string(kKey) + ".");
      if (!is_template || !value.is_string()) continue;
      const std::string problem = jinja_problem(value.get_ref<const std::string&>());
      if (!problem.empty()) fail(fmt::format("{} {}", key, problem));
    }
  }

  // What is computed with is of floats, packed or not. DeepSeek's table of which token goes where is of integers.
  void weights() {
    for (const GgufTensor& tensor : model_.tensors()) {
      const bool computed = tensor.name.ends_with(".weight") || tensor.name.ends_with(".bias");
      const bool plain = tensor.type == "F64" || tensor.type == "I8" || tensor.type == "I16" || tensor.type == "I32" ||
                         tensor.type == "I64";
      if (!computed || !plain || tensor.name.find("tid2eid") != std::string::npos) continue;
      fail(fmt::format("{} has the type {}, which is not valid for weights", tensor.name, tensor.type));
    }
  }

  const Gguf& model_;
  const std::string prefix_;
  std::string problem_;
};

}  // namespace

Result<void> check_model(const Gguf& model) {
  return ModelCheck(model).run();
}

Result<void> check_adapter(const Gguf& adapter) {
  using Type = Gguf::ValueType;
  for (const auto& [key, type, name] :
       {std::tuple{"general.type", Type::kString, "text"}, std::tuple{"general.architecture", Type::kString, "text"},
        std::tuple{"adapter.type", Type::kString, "text"},
        std::tuple{"adapter.lora.alpha", Type::kFloat32, "a 32-bit float"}}) {
    const auto found = adapter.value_type(key);
    if (found && *found != type) return invalid(fmt::format("{} must be {}", key, name));
  }
  return {};
}

}  // namespace drover
