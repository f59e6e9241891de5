// Files that appear whole or not at all, and errors of the file system in words.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace drover {

// What errors call the file or folder at `path`: its own name. They may reach a client, which is not to learn where the
// server has its files.
std::string shown_name(const std::filesystem::path& path);

// "cannot <action> <name>: <reason>". kNoSpace for a full disk or quota, kNotFound for a missing file, else kInternal.
Error file_error(std::string_view action, const std::filesystem::path& path, int error_number);

// All of the regular file at `path`, which must not be a symbolic link. Errors: kNotFound; kTooLarge over `bytes_max`;
// kInvalidArgument if it is no regular file.
Result<std::string> read_whole_file(const std::filesystem::path& path, std::uint64_t bytes_max);

// Makes a rename or removal in `folder` survive a crash of the machine.
Result<void> sync_folder(const std::filesystem::path& folder);

// Makes `folder` and what is missing above it, durably.
Result<void> make_folders(const std::filesystem::path& folder);

// A file under a temporary name that commit() gives its real one. Without commit() the destructor removes it; if the
// process dies first, sweep() does. One thread at a time.
class AtomicFile {
 public:
  // `folder` must be on the file system of the place where the file will go; it is made if it is missing.
  static Result<AtomicFile> create(const std::filesystem::path& folder);
  ~AtomicFile();
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;

  Result<void> write(std::string_view bytes);
  // Where the file is until commit(), for other programs that write into it.
  const std::filesystem::path& temporary() const { return temporary_; }
  // Reads what is at `offset` in it, no matter who wrote it. 0 bytes: its end.
  Result<std::size_t> read(std::uint64_t offset, std::span<char> into) const;
  // Makes what was written durable and moves it to `path`, replacing what is there. To be called once, at the end.
  Result<void> commit(const std::filesystem::path& path);

  // Removes the temporary files in `folder` whose writers are gone.
  static void sweep(const std::filesystem::path& folder);

 private:
  AtomicFile(std::filesystem::path temporary, int descriptor);
  void close();

  std::filesystem::path temporary_;
  int descriptor_ = -1;  // Holds an exclusive flock for as long as the writer lives; sweep() goes by that.
};

}  // namespace drover
