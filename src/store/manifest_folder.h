// Where manifests lie: one file per model, found by name.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "store/model_name.h"

namespace drover {

inline constexpr std::size_t kManifestsMax = 100'000;  // in one folder

// A manifest file and the name that it gives its model, in the store's own case.
struct ManifestFile {
  ModelName name;
  std::filesystem::path path;
};

// Tells one state of a file from another without reading it.
struct FileStamp {
  std::int64_t modified_ns = 0;  // since 1970
  std::uint64_t bytes = 0;
  std::uint64_t inode = 0;
  friend bool operator==(const FileStamp&, const FileStamp&) = default;
};
std::optional<FileStamp> stamp_of(const std::filesystem::path& path);

// manifests/<host>/<namespace>/<model>/<tag>, and beside it manifests-v2, where newer versions of Ollama put links to
// manifests that are kept as blobs. Both are read; Drover writes to the former, which every version reads.
// Names are looked up without regard to case. Reading functions may be called by any thread at any time; writing ones
// by one at a time.
class ManifestFolder {
 public:
  explicit ManifestFolder(const std::filesystem::path& models);

  const std::filesystem::path& folder() const { return folder_; }

  // nullopt: there is no such model.
  std::optional<ManifestFile> find(const ModelName& name) const;
  // All models, each once, in no order. Files that have no valid name are left out, with a line in the log.
  std::vector<ManifestFile> list() const;
  // What the file says. Errors: kInvalidArgument: a symbolic link that does not lead to a blob; kTooLarge; kNotFound.
  Result<std::string> read(const std::filesystem::path& manifest) const;
  // The texts of all files of the folders, whatever their names. Error: one exists but cannot be read now.
  Result<std::vector<std::string>> read_all() const;

  // Atomic: see ModelStore.
  Result<void> write(const ModelName& name, std::string_view text);
  // Removes every file that stands for `name`, and the folders that it leaves empty. Error: kNotFound: there is none.
  Result<void> remove(const ModelName& name);

 private:
  std::vector<std::filesystem::path> files_of(const ModelName& name) const;
  std::filesystem::path place_for(const ModelName& name) const;
  Result<void> remove_file(const std::filesystem::path& file) const;

  std::filesystem::path folder_;
  std::filesystem::path linked_folder_;  // manifests-v2
  std::filesystem::path blobs_;
};

}  // namespace drover
