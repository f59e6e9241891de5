// What a GGUF file says about itself: its key/values and its list of tensors. The weights are not read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace drover {

inline constexpr std::uint64_t kGgufKeysMax = 1u << 13;
inline constexpr std::uint64_t kGgufTensorsMax = 1u << 14;
inline constexpr std::uint64_t kGgufNameBytesMax = 1u << 12;
inline constexpr std::uint64_t kGgufStringBytesMax = 16u << 20;
inline constexpr std::uint64_t kGgufArrayElementsMax = 1u << 22;
inline constexpr std::uint64_t kGgufHeaderBytesMax = 256u << 20;  // everything in front of the weights
inline constexpr std::uint64_t kGgufSplitsMax = 1024;             // files of one model
inline constexpr std::uint64_t kGgufSmallArrayMax = 4096;         // elements; per-layer arrays are smaller than this

struct GgufTensor {
  std::string name;
  std::string type;  // as Ollama prints it: "F32", "Q4_K", "IQ4_NL"
  std::vector<std::uint64_t> shape;
  std::uint64_t elements = 0;
  std::uint64_t offset = 0;  // of its data from the start of the file, bytes
  std::uint64_t bytes = 0;
};

// Which arrays are kept in memory: the small ones are what a model is configured by, the large ones its vocabulary.
enum class GgufArrays { kSmall, kAll };

// An immutable value; any thread may read it.
class Gguf {
 public:
  // As the file has it.
  enum class ValueType : std::uint32_t {
    kUint8,
    kInt8,
    kUint16,
    kInt16,
    kUint32,
    kInt32,
    kFloat32,
    kBool,
    kString,
    kArray,
    kUint64,
    kInt64,
    kFloat64,
  };

  // Reads the header of the file at `path` and checks that all of its tensor data lies inside the file.
  // Errors: kNotFound (no file); kInvalidArgument: "supplied file was not in GGUF format", "GGUF file is truncated: …",
  // or what else is wrong with it, such as a count over a limit.
  static Result<Gguf> read(const std::filesystem::path& path, GgufArrays arrays = GgufArrays::kSmall);

  // One model from the files that it is split into, in any order: the metadata of the first and the tensors of all.
  // Offsets stay those in their own files. Error: kInvalidArgument, "invalid split GGUF: …", if they are not all parts
  // of one model.
  static Result<Gguf> join(std::span<const std::shared_ptr<const Gguf>> parts);

  std::uint32_t version() const { return version_; }
  std::uint64_t file_bytes() const { return file_bytes_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  std::uint64_t tensor_bytes() const { return tensor_bytes_; }

  // A value by its full key, or by its key below the architecture ("block_count" for "llama.block_count").
  // nullptr: there is none. An array that was not kept is null.
  const nlohmann::ordered_json* find(std::string_view key) const;
  const nlohmann::ordered_json* find_in_architecture(std::string_view key) const;
  std::optional<ValueType> value_type(std::string_view key) const;
  // All key/values in the order of the file. Kept arrays are arrays, others null.
  const nlohmann::ordered_json& metadata() const { return metadata_; }
  // metadata() as /api/show's model_info: with general.parameter_count, without general.name and
  // tokenizer.chat_template, keys sorted; every array is null unless this was read with GgufArrays::kAll.
  nlohmann::ordered_json model_info() const;

  std::string architecture() const;       // "" if it does not say
  std::string type() const;               // general.type: "model", "adapter", "projector", "mmproj" …
  std::string name() const;               // general.name
  std::uint64_t parameter_count() const;  // elements of all tensors
  std::string parameter_size() const;     // "3.2B", "137M"
  std::string quantization() const;       // "Q4_K_M", "F16", "unknown"
  std::uint64_t context_length() const;   // trained context; 0 if it does not say, as for those below
  std::uint64_t embedding_length() const;
  std::uint64_t block_count() const;
  std::uint64_t head_count() const;
  std::string chat_template() const;  // tokenizer.chat_template, jinja; "" if none
  bool is_embedding_model() const;    // it pools its outputs instead of generating
  bool is_projector() const;          // a vision or audio encoder that goes with another file
  bool is_adapter() const;
  std::uint64_t split_count() const;   // files that the model is split into; 1: it is whole
  std::uint64_t split_number() const;  // which of them this is, from 0
  std::uint64_t vocabulary_size() const { return vocabulary_size_; }
  // Two tokens of the vocabulary, by number, that are the same.
  std::optional<std::pair<std::uint64_t, std::uint64_t>> repeated_token() const { return repeated_token_; }
  bool has_fill_in_the_middle() const;  // the vocabulary has FIM prefix and suffix tokens
  bool template_has_tools() const;
  bool template_has_thinking() const;

  // Bytes of memory that the model takes with `parallel` sequences of `context_length` tokens each in an f16 KV cache:
  // weights, KV and compute buffers. An upper estimate for admission, not a promise. Saturates instead of overflowing.
  std::uint64_t estimate_memory_bytes(std::uint64_t context_length, std::uint64_t parallel) const;

 private:
  friend class GgufReader;
  std::uint64_t kv_bytes_per_cell() const;

  std::uint32_t version_ = 0;
  std::uint64_t file_bytes_ = 0;
  std::uint64_t tensor_bytes_ = 0;
  bool all_arrays_ = false;
  std::uint64_t vocabulary_size_ = 0;
  std::optional<std::pair<std::uint64_t, std::uint64_t>> repeated_token_;
  bool fill_in_the_middle_ = false;
  nlohmann::ordered_json metadata_ = nlohmann::ordered_json::object();
  std::map<std::string, ValueType, std::less<>> value_types_;
  std::vector<GgufTensor> tensors_;
};

}  // namespace drover
