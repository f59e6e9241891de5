// Makes small GGUF files for tests, right ones and wrong ones.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace drover {

class GgufBuilder {
 public:
  GgufBuilder& text(std::string_view key, std::string_view value) { return entry(key, 8, string(value)); }
  GgufBuilder& number(std::string_view key, std::uint32_t value) { return entry(key, 4, raw(value)); }
  GgufBuilder& short_number(std::string_view key, std::uint16_t value) { return entry(key, 2, raw(value)); }
  GgufBuilder& real(std::string_view key, float value) { return entry(key, 6, raw(value)); }
  GgufBuilder& boolean(std::string_view key, bool value) { return entry(key, 7, raw(std::uint8_t{value})); }
  GgufBuilder& texts(std::string_view key, const std::vector<std::string>& values) {
    std::string bytes = raw(std::uint32_t{8}) + raw(std::uint64_t{values.size()});
    for (const std::string& value : values) bytes += string(value);
    return entry(key, 9, bytes);
  }
  GgufBuilder& numbers(std::string_view key, const std::vector<std::uint32_t>& values) {
    std::string bytes = raw(std::uint32_t{4}) + raw(std::uint64_t{values.size()});
    for (const std::uint32_t value : values) bytes += raw(value);
    return entry(key, 9, bytes);
  }
  // A key/value whose bytes are given.
  GgufBuilder& entry(std::string_view key, std::uint32_t type, std::string_view value) {
    keys_ += string(key) + raw(type) + std::string(value);
    ++key_count_;
    return *this;
  }
  GgufBuilder& tensor(std::string_view name, const std::vector<std::uint64_t>& shape, std::uint32_t type,
                      std::uint64_t bytes) {
    return tensor_at(name, shape, type, data_.size(), bytes);
  }
  GgufBuilder& tensor_at(std::string_view name, const std::vector<std::uint64_t>& shape, std::uint32_t type,
                         std::uint64_t offset, std::uint64_t bytes) {
    tensors_ += string(name) + raw(static_cast<std::uint32_t>(shape.size()));
    for (const std::uint64_t size : shape) tensors_ += raw(size);
    tensors_ += raw(type) + raw(offset);
    ++tensor_count_;
    data_.append(bytes, 'w');
    data_.resize((data_.size() + 31) / 32 * 32);
    return *this;
  }
  GgufBuilder& counts(std::uint64_t tensors, std::uint64_t keys) {
    tensor_count_ = tensors;
    key_count_ = keys;
    return *this;
  }

  std::string build() const {
    std::string file = "GGUF" + raw(version) + raw(tensor_count_) + raw(key_count_) + keys_ + tensors_;
    file.resize((file.size() + 31) / 32 * 32);
    return file + data_;
  }

  template <typename T>
  static std::string raw(T value) {
    return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  static std::string string(std::string_view value) { return raw(std::uint64_t{value.size()}) + std::string(value); }

  std::uint32_t version = 3;

 private:
  std::uint64_t key_count_ = 0;
  std::uint64_t tensor_count_ = 0;
  std::string keys_;
  std::string tensors_;
  std::string data_;
};

// A model of two layers with all that a real one has, but tiny.
inline GgufBuilder tiny_model(std::string_view name = "Tiny") {
  GgufBuilder builder;
  builder.text("general.architecture", "llama")
      .text("general.name", name)
      .number("general.file_type", 1)
      .number("llama.context_length", 2048)
      .number("llama.embedding_length", 64)
      .number("llama.block_count", 2)
      .number("llama.attention.head_count", 4)
      .number("llama.attention.head_count_kv", 2)
      .real("llama.attention.layer_norm_rms_epsilon", 1e-5f)
      .texts("tokenizer.ggml.tokens", {"a", "b", "<fim_prefix>"})
      .text("tokenizer.chat_template", "{% if tools %}{% endif %}{% if enable_thinking %}{% endif %}")
      .tensor("token_embd.weight", {64, 32}, 1, 64 * 32 * 2)
      .tensor("output_norm.weight", {64}, 0, 64 * 4);
  return builder;
}

}  // namespace drover
