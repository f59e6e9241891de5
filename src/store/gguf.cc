#include "store/gguf.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "store/atomic_file.h"
#include "store/gguf_reader.h"
#include "store/gguf_types.h"

namespace drover {
namespace {

using nlohmann::ordered_json;

std::uint64_t saturating_multiply(std::uint64_t a, std::uint64_t b) {
  std::uint64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? std::numeric_limits<std::uint64_t>::max() : product;
}

std::uint64_t saturating_add(std::uint64_t a, std::uint64_t b) {
  std::uint64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<std::uint64_t>::max() : sum;
}

// 0 for anything that is not a count.
std::uint64_t to_count(const ordered_json* value) {
  if (value == nullptr || !value->is_number_integer()) return 0;
  if (value->is_number_unsigned()) return value->get<std::uint64_t>();
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, value->get<std::int64_t>()));
}

// A value that is one for all layers, or an array with one for each.
std::uint64_t count_of_layer(const ordered_json* value, std::uint64_t layer) {
  if (value == nullptr || !value->is_array()) return to_count(value);
  return layer < value->size() ? to_count(&(*value)[layer]) : 0;
}

std::string to_string(const ordered_json* value) {
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

bool is_true(const ordered_json* value) {
  return value != nullptr && value->is_boolean() && value->get<bool>();
}

std::string scaled(double value, int decimals, char unit) {
  if (value == std::floor(value)) decimals = 0;
  return fmt::format("{:.{}f}{}", value, decimals, unit);
}

}  // namespace

Result<Gguf> Gguf::read(const std::filesystem::path& path, GgufArrays arrays) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (file < 0 && errno == ELOOP) return invalid(fmt::format("{} is a symbolic link", path.string()));
  if (file < 0) return file_error("open", path, errno);
  struct stat status {};
  Result<Gguf> result = invalid("supplied file was not in GGUF format");
  if (::fstat(file, &status) == 0 && S_ISREG(status.st_mode)) {
    result = GgufReader(file, static_cast<std::uint64_t>(status.st_size), arrays).read();
  }
  ::close(file);
  return result;
}

Result<Gguf> Gguf::join(std::span<const std::shared_ptr<const Gguf>> parts) {
  const auto wrong = [](const std::string& why) { return invalid("invalid split GGUF: " + why); };
  if (parts.empty()) return wrong("it has no parts");
  const std::uint64_t count = parts.front()->split_count();
  std::vector<const Gguf*> sorted(std::min<std::uint64_t>(count, kGgufSplitsMax), nullptr);
  for (const auto& part : parts) {
    if (part->split_count() != count) {
      return wrong(fmt::format("one file is of a model of {} parts, another of one of {}", count, part->split_count()));
    }
    if (part->split_number() >= sorted.size())
      return wrong(fmt::format("there is no part {}", part->split_number() + 1));
    if (std::exchange(sorted[part->split_number()], part.get()) != nullptr) {
      return wrong(fmt::format("part {} is there twice", part->split_number() + 1));
    }
  }
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    if (sorted[i] == nullptr) return wrong(fmt::format("part {} of {} is missing", i + 1, count));
  }
  Gguf whole = *sorted.front();
  std::set<std::string_view> names;
  for (const Gguf* part : sorted) {
    const std::string architecture = part->architecture();
    if (!architecture.empty() && architecture != whole.architecture())
      return wrong("its parts are of different models");
    for (const GgufTensor& tensor : part->tensors_) {
      if (!names.insert(tensor.name).second) return wrong(fmt::format("two parts have the tensor \"{}\"", tensor.name));
    }
    if (part == sorted.front()) continue;
    if (part->value_type("split.no") != ValueType::kUint16) return wrong("split.no must be a 16-bit number");
    whole.tensors_.insert(whole.tensors_.end(), part->tensors_.begin(), part->tensors_.end());
    whole.tensor_bytes_ = saturating_add(whole.tensor_bytes_, part->tensor_bytes_);
    whole.file_bytes_ = saturating_add(whole.file_bytes_, part->file_bytes_);
  }
  const ordered_json* tensors = whole.find("split.tensors.count");
  if (tensors != nullptr && to_count(tensors) != whole.tensors_.size()) {
    return wrong(
        fmt::format("it should have {} tensors, and its parts have {}", to_count(tensors), whole.tensors_.size()));
  }
  return whole;
}

const ordered_json* Gguf::find(std::string_view key) const {
  const auto value = metadata_.find(std::string(key));
  return value == metadata_.end() ? nullptr : &*value;
}

const ordered_json* Gguf::find_in_architecture(std::string_view key) const {
  return find(fmt::format("{}.{}", architecture(), key));
}

std::optional<Gguf::ValueType> Gguf::value_type(std::string_view key) const {
  const auto found = value_types_.find(key);
  return found == value_types_.end() ? std::nullopt : std::optional(found->second);
}

ordered_json Gguf::model_info() const {
  std::map<std::string, ordered_json> sorted;
  for (const auto& [key, value] : metadata_.items()) {
    sorted.emplace(key, value.is_array() && !all_arrays_ ? ordered_json(nullptr) : value);
  }
  sorted.erase("general.name");
  sorted.erase("tokenizer.chat_template");
  sorted["general.parameter_count"] = parameter_count();
  return ordered_json(std::move(sorted));
}

std::string Gguf::architecture() const {
  return to_string(find("general.architecture"));
}

std::string Gguf::type() const {
  return to_string(find("general.type"));
}

std::string Gguf::name() const {
  return to_string(find("general.name"));
}

std::uint64_t Gguf::parameter_count() const {
  std::uint64_t total = 0;
  for (const GgufTensor& tensor : tensors_) total = saturating_add(total, tensor.elements);
  return total;
}

std::string Gguf::parameter_size() const {
  const auto count = static_cast<double>(parameter_count());
  if (count >= 1e9) return scaled(count / 1e9, 1, 'B');
  if (count >= 1e6) return scaled(count / 1e6, 2, 'M');
  if (count >= 1e3) return scaled(std::round(count / 1e3), 0, 'K');
  return fmt::format("{}", parameter_count());
}

std::string Gguf::quantization() const {
  const ordered_json* file_type = find("general.file_type");
  return std::string(file_type == nullptr ? "unknown" : gguf_file_type_name(to_count(file_type)));
}

std::uint64_t Gguf::context_length() const {
  return to_count(find_in_architecture("context_length"));
}

std::uint64_t Gguf::embedding_length() const {
  return to_count(find_in_architecture("embedding_length"));
}

std::uint64_t Gguf::block_count() const {
  return to_count(find_in_architecture("block_count"));
}

std::uint64_t Gguf::head_count() const {
  const ordered_json* heads = find_in_architecture("attention.head_count");
  if (heads == nullptr || !heads->is_array()) return to_count(heads);
  std::uint64_t most = 0;
  for (const ordered_json& value : *heads) most = std::max(most, to_count(&value));
  return most;
}

std::string Gguf::chat_template() const {
  return to_string(find("tokenizer.chat_template"));
}

bool Gguf::is_embedding_model() const {
  if (find_in_architecture("pooling_type") != nullptr) return true;
  const ordered_json* causal = find_in_architecture("attention.causal");
  return causal != nullptr && causal->is_boolean() && !causal->get<bool>();
}

bool Gguf::is_projector() const {
  if (type() == "projector" || type() == "mmproj") return true;
  if (block_count() != 0) return false;
  if (to_count(find_in_architecture("vision.block_count")) > 0) return true;
  return architecture() == "clip" &&
         (is_true(find_in_architecture("has_vision_encoder")) || is_true(find_in_architecture("has_audio_encoder")));
}

bool Gguf::is_adapter() const {
  return type() == "adapter";
}

std::uint64_t Gguf::split_count() const {
  return std::max<std::uint64_t>(to_count(find("split.count")), 1);
}

std::uint64_t Gguf::split_number() const {
  return to_count(find("split.no"));
}

bool Gguf::has_fill_in_the_middle() const {
  return fill_in_the_middle_ || find("tokenizer.ggml.fim_pre_token_id") != nullptr ||
         find("tokenizer.ggml.prefix_token_id") != nullptr;
}

bool Gguf::template_has_tools() const {
  return chat_template().find("tools") != std::string::npos;
}

bool Gguf::template_has_thinking() const {
  const std::string text = chat_template();
  for (const std::string_view hint : {"enable_thinking", "reasoning_content", "<think>", "reasoning_effort"}) {
    if (text.find(hint) != std::string::npos) return true;
  }
  return false;
}

std::uint64_t Gguf::kv_bytes_per_cell() const {
  constexpr std::uint64_t kBytesPerElement = 2;  // f16
  const ordered_json* heads = find_in_architecture("attention.head_count");
  const ordered_json* kv_heads = find_in_architecture("attention.head_count_kv");
  const std::uint64_t head_size = head_count() == 0 ? 0 : embedding_length() / head_count();
  const ordered_json* key_length = find_in_architecture("attention.key_length");
  const ordered_json* value_length = find_in_architecture("attention.value_length");
  const std::uint64_t head_elements = saturating_add(key_length == nullptr ? head_size : to_count(key_length),
                                                     value_length == nullptr ? head_size : to_count(value_length));
  std::uint64_t total_heads = 0;
  // The number of layers is what the file claims; no real model comes near the bound.
  for (std::uint64_t layer = 0; layer < std::min(block_count(), kGgufSmallArrayMax); ++layer) {
    total_heads = saturating_add(total_heads, count_of_layer(kv_heads == nullptr ? heads : kv_heads, layer));
  }
  return saturating_multiply(saturating_multiply(total_heads, head_elements), kBytesPerElement);
}

std::uint64_t Gguf::estimate_memory_bytes(std::uint64_t context_length, std::uint64_t parallel) const {
  constexpr std::uint64_t kProcessBytes = 64u << 20;  // program, tokenizer, samplers, graphs
  constexpr std::uint64_t kBatchTokens = 512;
  constexpr std::uint64_t kActivationRows = 16;  // vectors of the embedding's size that a token occupies at once
  const std::uint64_t cells = saturating_multiply(context_length, parallel);
  const std::uint64_t per_token =
      saturating_add(vocabulary_size_, saturating_multiply(kActivationRows, embedding_length()));
  const std::uint64_t compute = saturating_multiply(saturating_multiply(kBatchTokens, sizeof(float)), per_token);
  std::uint64_t total = saturating_add(tensor_bytes_, saturating_multiply(kv_bytes_per_cell(), cells));
  total = saturating_add(total, compute);
  return saturating_add(total, kProcessBytes);
}

}  // namespace drover
