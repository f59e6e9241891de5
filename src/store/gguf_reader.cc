#include "store/gguf_reader.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <functional>
#include <iterator>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/utf8.h"
#include "store/gguf_types.h"

namespace drover {
namespace {

using nlohmann::ordered_json;

static_assert(std::endian::native == std::endian::little, "GGUF is little-endian, and this reader copies its numbers");

constexpr std::size_t kBufferBytes = 1u << 18;
constexpr std::uint32_t kDimensionsMax = 4;
constexpr std::uint64_t kDefaultAlignment = 32;
constexpr std::uint64_t kAlignmentMax = 1u << 20;

using enum Gguf::ValueType;

// Bytes of one value of a fixed-size type; 0 for the others.
std::uint64_t fixed_size(Gguf::ValueType type) {
  switch (type) {
    case kUint8:
    case kInt8:
    case kBool:
      return 1;
    case kUint16:
    case kInt16:
      return 2;
    case kUint32:
    case kInt32:
    case kFloat32:
      return 4;
    case kUint64:
    case kInt64:
    case kFloat64:
      return 8;
    default:
      return 0;
  }
}

// The double that prints as short as the float does: 1e-05, not 9.999999747378752e-06.
double shortest(float value) {
  return std::strtod(fmt::format("{}", value).c_str(), nullptr);
}

// Tokens by which vocabularies mark the text in front of and behind a gap that is to be filled.
constexpr std::string_view kGapTokens[] = {"<|fim_prefix|>", "<fim_prefix>",    "<fim-prefix>",   "<PRE>",
                                           "▁<PRE>",         "<｜fim▁begin｜>", "<|code_prefix|>"};

}  // namespace

GgufReader::GgufReader(int file, std::uint64_t file_bytes, GgufArrays arrays)
    : file_(file),
      arrays_(arrays),
      header_bytes_max_(std::min(file_bytes, kGgufHeaderBytesMax)),
      buffer_(kBufferBytes) {
  result_.file_bytes_ = file_bytes;
  result_.all_arrays_ = arrays == GgufArrays::kAll;
}

Result<Gguf> GgufReader::read() {
  read_preamble();
  for (std::uint64_t i = 0; i < key_count_ && !failed(); ++i) read_key_value();
  for (std::uint64_t i = 0; i < tensor_count_ && !failed(); ++i) read_tensor();
  if (!failed()) check_tensor_data();
  if (failed()) return invalid(error_);
  return std::move(result_);
}

void GgufReader::fail(std::string message) {
  if (error_.empty()) error_ = std::move(message);
}

void GgufReader::read_bytes(char* target, std::uint64_t size) {
  if (failed()) return;
  if (size > header_bytes_max_ - position_) {
    if (header_bytes_max_ == result_.file_bytes_) {
      return fail(fmt::format("GGUF file is truncated: it ends in its header, at {} bytes", result_.file_bytes_));
    }
    return fail(fmt::format("GGUF header has more than {} bytes", kGgufHeaderBytesMax));
  }
  while (size > 0) {
    if (buffer_at_ == buffer_end_) {
      const ssize_t count = ::pread(file_, buffer_.data(), buffer_.size(), static_cast<off_t>(position_));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return fail("cannot read GGUF file: " + std::error_code(errno, std::generic_category()).message());
      if (count == 0) return fail("GGUF file is truncated: it shrank while it was read");
      buffer_at_ = 0;
      buffer_end_ = static_cast<std::size_t>(count);
    }
    const std::size_t part = std::min<std::uint64_t>(size, buffer_end_ - buffer_at_);
    if (target != nullptr) {
      std::memcpy(target, buffer_.data() + buffer_at_, part);
      target += part;
    }
    buffer_at_ += part;
    position_ += part;
    size -= part;
  }
}

void GgufReader::skip(std::uint64_t size) {
  read_bytes(nullptr, size);
}

template <typename T>
T GgufReader::read_number() {
  T value{};
  read_bytes(reinterpret_cast<char*>(&value), sizeof(value));
  return failed() ? T{} : value;
}

std::string GgufReader::read_string(std::uint64_t bytes_max, const char* what) {
  const auto size = read_number<std::uint64_t>();
  if (size > bytes_max) fail(fmt::format("GGUF {} has more than {} bytes", what, bytes_max));
  if (!failed() && size > header_bytes_max_ - position_) skip(size);  // Fails, before anything is allocated.
  if (failed()) return {};
  std::string bytes(size, '\0');
  read_bytes(bytes.data(), size);
  return bytes;
}

std::string GgufReader::read_text(std::uint64_t bytes_max, const char* what) {
  return valid_utf8(read_string(bytes_max, what));
}

void GgufReader::read_preamble() {
  constexpr std::string_view kMagic = "GGUF";
  char magic[4] = {};
  if (result_.file_bytes_ >= sizeof(magic)) read_bytes(magic, sizeof(magic));
  if (std::string_view(magic, sizeof(magic)) != kMagic) return fail("supplied file was not in GGUF format");
  result_.version_ = read_number<std::uint32_t>();
  if (failed()) return;
  if ((result_.version_ & 0xffff) == 0) return fail("big-endian GGUF files are not supported");
  if (result_.version_ < 2 || result_.version_ > 3) {
    return fail(fmt::format("GGUF version {} is not supported", result_.version_));
  }
  tensor_count_ = read_number<std::uint64_t>();
  key_count_ = read_number<std::uint64_t>();
  if (tensor_count_ > kGgufTensorsMax) fail(fmt::format("GGUF file has more than {} tensors", kGgufTensorsMax));
  if (key_count_ > kGgufKeysMax) fail(fmt::format("GGUF file has more than {} keys", kGgufKeysMax));
}

void GgufReader::read_key_value() {
  std::string key = read_text(kGgufNameBytesMax, "key");
  const auto type = Gguf::ValueType{read_number<std::uint32_t>()};
  if (failed()) return;
  if (!result_.value_types_.emplace(key, type).second) return fail(fmt::format("GGUF file has the key {} twice", key));
  ordered_json value = read_value(type, key);
  if (!failed()) result_.metadata_.emplace(std::move(key), std::move(value));
}

ordered_json GgufReader::read_value(Gguf::ValueType type, const std::string& key) {
  switch (type) {
    case kUint8:
      return read_number<std::uint8_t>();
    case kInt8:
      return read_number<std::int8_t>();
    case kUint16:
      return read_number<std::uint16_t>();
    case kInt16:
      return read_number<std::int16_t>();
    case kUint32:
      return read_number<std::uint32_t>();
    case kInt32:
      return read_number<std::int32_t>();
    case kFloat32:
      return shortest(read_number<float>());
    case kBool:
      return read_number<std::uint8_t>() != 0;
    case kString:
      return read_text(kGgufStringBytesMax, "string");
    case kArray:
      return read_array(key);
    case kUint64:
      return read_number<std::uint64_t>();
    case kInt64:
      return read_number<std::int64_t>();
    case kFloat64:
      return read_number<double>();
    default:
      fail(fmt::format("GGUF key {} has the unknown type {}", key, static_cast<std::uint32_t>(type)));
      return nullptr;
  }
}

ordered_json GgufReader::read_array(const std::string& key) {
  const auto type = Gguf::ValueType{read_number<std::uint32_t>()};
  const auto count = read_number<std::uint64_t>();
  if (failed()) return nullptr;
  if (count > kGgufArrayElementsMax) {
    fail(fmt::format("GGUF array {} has more than {} elements", key, kGgufArrayElementsMax));
    return nullptr;
  }
  const bool keep = arrays_ == GgufArrays::kAll || count <= kGgufSmallArrayMax;
  ordered_json array = ordered_json::array();
  if (type == kString) {
    read_string_array(count, keep, key, array);
  } else if (fixed_size(type) == 0) {
    fail(fmt::format("GGUF array {} has elements of a type that is not valid in arrays", key));
  } else if (!keep) {
    skip(count * fixed_size(type));
  } else {
    for (std::uint64_t i = 0; i < count && !failed(); ++i) array.push_back(read_value(type, key));
  }
  return keep ? std::move(array) : ordered_json(nullptr);
}

void GgufReader::read_string_array(std::uint64_t count, bool keep, const std::string& key, ordered_json& array) {
  if (key == "tokenizer.ggml.tokens") return read_vocabulary(count, keep, array);
  for (std::uint64_t i = 0; i < count && !failed(); ++i) {
    std::string element = read_text(kGgufStringBytesMax, "string");
    if (keep) array.push_back(std::move(element));
  }
}

void GgufReader::read_vocabulary(std::uint64_t count, bool keep, ordered_json& array) {
  result_.vocabulary_size_ = count;
  std::vector<std::pair<std::size_t, std::uint64_t>> hashes;  // of the tokens, with their numbers
  for (std::uint64_t i = 0; i < count && !failed(); ++i) {
    std::string token = read_string(kGgufStringBytesMax, "string");
    // The engine reads a token up to a zero byte, and gives a name to one that has none.
    std::string text = token.substr(0, token.find('\0'));
    if (text.empty()) text = fmt::format("[EMPTY_{}]", i);
    hashes.emplace_back(std::hash<std::string>()(text), i);
    if (std::find(std::begin(kGapTokens), std::end(kGapTokens), token) != std::end(kGapTokens)) {
      result_.fill_in_the_middle_ = true;
    }
    if (keep) array.push_back(valid_utf8(token));
  }
  std::sort(hashes.begin(), hashes.end());
  const auto same = [](const auto& one, const auto& other) { return one.first == other.first; };
  const auto repeated = std::adjacent_find(hashes.begin(), hashes.end(), same);
  if (repeated != hashes.end()) result_.repeated_token_ = {repeated->second, std::next(repeated)->second};
}

void GgufReader::read_tensor() {
  GgufTensor tensor;
  tensor.name = read_text(kGgufNameBytesMax, "tensor name");
  const auto dimensions = read_number<std::uint32_t>();
  if (dimensions > kDimensionsMax) return fail(fmt::format("GGUF tensor {} has too many dimensions", tensor.name));
  tensor.elements = 1;
  for (std::uint32_t i = 0; i < dimensions && !failed(); ++i) {
    tensor.shape.push_back(read_number<std::uint64_t>());
    if (__builtin_mul_overflow(tensor.elements, tensor.shape.back(), &tensor.elements)) {
      return fail(fmt::format("GGUF tensor {} is too large", tensor.name));
    }
  }
  const auto type_id = read_number<std::uint32_t>();
  tensor.offset = read_number<std::uint64_t>();
  if (failed()) return;
  if (tensor.elements == 0) return fail(fmt::format("GGUF tensor {} has a dimension of 0", tensor.name));
  const GgufTensorType* type = find_gguf_tensor_type(type_id);
  if (type == nullptr) return fail(fmt::format("GGUF tensor {} has the unknown type {}", tensor.name, type_id));
  const std::uint64_t row = tensor.shape.empty() ? 1 : tensor.shape.front();
  if (row % type->block_elements != 0) {
    return fail(
        fmt::format("GGUF tensor {} has rows whose length is not a multiple of {}", tensor.name, type->block_elements));
  }
  if (__builtin_mul_overflow(tensor.elements / type->block_elements, type->block_bytes, &tensor.bytes)) {
    return fail(fmt::format("GGUF tensor {} is too large", tensor.name));
  }
  tensor.type = type->name;
  if (!tensor_names_.insert(tensor.name).second) {
    return fail(fmt::format("GGUF file has the tensor {} twice", tensor.name));
  }
  result_.tensors_.push_back(std::move(tensor));
}

void GgufReader::check_tensor_data() {
  std::uint64_t alignment = kDefaultAlignment;
  if (const ordered_json* value = result_.find("general.alignment")) {
    if (!value->is_number_unsigned()) return fail("GGUF alignment is not a number");
    alignment = value->get<std::uint64_t>();
  }
  if (!std::has_single_bit(alignment) || alignment > kAlignmentMax) return fail("GGUF alignment is not a power of two");

  const std::uint64_t data_start = (position_ + alignment - 1) / alignment * alignment;
  for (GgufTensor& tensor : result_.tensors_) {
    if (tensor.offset % alignment != 0) return fail(fmt::format("GGUF tensor {} is not aligned", tensor.name));
    std::uint64_t end = 0;
    if (__builtin_add_overflow(tensor.offset, data_start, &tensor.offset) ||
        __builtin_add_overflow(tensor.offset, tensor.bytes, &end) || end > result_.file_bytes_) {
      return fail(fmt::format("GGUF file is truncated: it has {} bytes, and tensor {} goes beyond them",
                              result_.file_bytes_, tensor.name));
    }
    // No overflow: a tensor has fewer bytes than the file, and there are at most kGgufTensorsMax of them.
    result_.tensor_bytes_ += tensor.bytes;
  }
}

}  // namespace drover
