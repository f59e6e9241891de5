// Reads the header of a GGUF file. Only gguf.cc's Gguf::read is for others.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "store/gguf.h"

namespace drover {

// Reads a header front to back. The first thing that is wrong is kept and makes all further reads return zeros, so
// that a loop need only ask failed() to stop.
class GgufReader {
 public:
  GgufReader(int file, std::uint64_t file_bytes, GgufArrays arrays);

  Result<Gguf> read();

 private:
  bool failed() const { return !error_.empty(); }
  void fail(std::string message);

  void read_bytes(char* target, std::uint64_t size);
  void skip(std::uint64_t size);
  template <typename T>
  T read_number();
  std::string read_string(std::uint64_t bytes_max, const char* what);  // as it is in the file
  std::string read_text(std::uint64_t bytes_max, const char* what);    // made valid UTF-8

  void read_preamble();
  void read_key_value();
  nlohmann::ordered_json read_value(Gguf::ValueType type, const std::string& key);
  nlohmann::ordered_json read_array(const std::string& key);
  void read_string_array(std::uint64_t count, bool keep, const std::string& key, nlohmann::ordered_json& array);
  void read_vocabulary(std::uint64_t count, bool keep, nlohmann::ordered_json& array);
  void read_tensor();
  void check_tensor_data();

  int file_;
  GgufArrays arrays_;
  std::uint64_t header_bytes_max_;
  std::uint64_t position_ = 0;  // of the next byte to be handed out
  std::vector<char> buffer_;    // what was read ahead
  std::size_t buffer_at_ = 0;
  std::size_t buffer_end_ = 0;
  std::string error_;

  Gguf result_;
  std::uint64_t key_count_ = 0;
  std::uint64_t tensor_count_ = 0;
  std::set<std::string> tensor_names_;
};

}  // namespace drover
